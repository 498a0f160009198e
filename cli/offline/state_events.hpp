// State events of one moment, read at most once.
#pragma once

#include "cli/offline/reader.hpp"

namespace sliding_sync::cli::offline {

class StateEventReader {
public:
    explicit StateEventReader(Reader& reader) : reader_(reader) {}

    void read(const std::vector<StateEventIds>& ids);

    /// Of those that were read, as far as they are of this room and of their kind. Its texts live as long as
    /// this.
    [[nodiscard]] rules::StateEvents of(const std::string& room_id, const StateEventIds& ids) const;

private:
    struct Stored {
        std::string room_id;
        rules::StateKind kind = rules::StateKind::create;
        std::string json;
        bool redacted = false;
        bool rejected = false;
    };

    Reader& reader_;
    std::unordered_map<std::string, std::optional<Stored>> events_;
};

/// The relevant state after events, by state groups; nothing where that cannot be known any more.
[[nodiscard]] std::vector<std::optional<StateEventIds>> state_after(Reader& reader, const Texts& event_ids);

}  // namespace sliding_sync::cli::offline
