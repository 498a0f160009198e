// From noted event ids, and rooms noted as a whole, to the rooms and memberships that they concern.
#pragma once

#include "live/pending_keys.hpp"

namespace sliding_sync {

/// Owns the texts of the keys that it adds: it must outlive the changes.
class KeyResolver {
public:
    KeyResolver(const Homeserver& homeserver, const PendingKeys& keys);

    [[nodiscard]] bool has_work() const noexcept;

    /// Whether a redaction or rejection is of an event that is not there and was not there before: its room
    /// cannot be told, and who is just storing it does not see the change either.
    [[nodiscard]] bool names_missing_event();

    /// Adds what it finds; the same key may then stand in `changes` more than once. A look-up that fails is
    /// noted in quarantine.
    void resolve(Changes& changes);

private:
    std::string_view keep(std::string_view text);
    void add_rooms(const std::vector<std::string_view>& room_ids, Changes& changes, bool orderings);
    void add_rooms_of_redactions(Changes& changes);
    void add_memberships(const std::vector<MembershipKey>& found, Changes& changes);

    const HomeserverSchema& schema_;
    KeyLookup& lookup_;
    std::vector<std::string_view> redactions_;
    std::vector<std::string_view> new_redactions_;
    std::vector<std::string_view> rejections_;
    std::vector<std::string_view> memberships_;
    std::vector<std::string_view> rooms_;
    std::vector<std::string_view> incomplete_rooms_;
    std::vector<MembershipKey> members_;
    std::vector<std::unique_ptr<std::string>> texts_;
};

}  // namespace sliding_sync
