// What rooms have ever said of themselves: for judging snapshots whose moment nobody can read any more.
#pragma once

#include "derive/room_facts.hpp"

namespace sliding_sync {

/// A room's relevant state events since its creation, each read without its redactions.
struct RoomHistory {
    bool is_complete = false;  ///< it begins with the room's creation
    std::vector<rules::RoomState> states;
    /// By StateKind: one of the events is gone, or its content may have been, so that it may have told anything.
    std::array<bool, rules::state_kind_count> is_lost{};

    /// True when some event has given each of these columns, or may have, or it is empty.
    [[nodiscard]] bool contains(const rules::RoomState& state) const;
};

class RoomHistories {
public:
    RoomHistories(const HomeserverSchema& schema, RoomFacts& rooms);

    /// In the order of the rooms, inside an open SpiConnection. Costs a look at all state changes of each room.
    std::vector<RoomHistory> of(std::span<const std::string_view> room_ids);

    /// Adds the stored events: one that came in the transaction of the last leave never stood in current state. Costs a
    /// look at all events of each room.
    void add_stored_events(std::span<const std::string_view> room_ids,
                           std::span<RoomHistory* const> histories);

private:
    void add(const Rows& rows, std::span<const std::string_view> room_ids,
             std::span<RoomHistory* const> histories);

    bool is_kept_;  ///< the homeserver keeps state changes, and can find those of a room
    RoomFacts& rooms_;
    Statement changes_;
    Statement stored_events_;
};

}  // namespace sliding_sync
