// Reads what rooms have ever said of themselves.
#pragma once

#include "derive/room_facts.hpp"
#include "rules/room_history.hpp"

namespace sliding_sync {

using rules::RoomHistory;

class RoomHistories {
public:
    RoomHistories(const HomeserverSchema& schema, RoomFacts& rooms);

    /// In the order of the rooms, inside an open SpiConnection. Costs a look at all state changes of each
    /// room.
    std::vector<RoomHistory> of(std::span<const std::string_view> room_ids);

    /// Adds the stored events: one that came in the transaction of the last leave never stood in current
    /// state. Costs a look at all events of each room.
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
