// What refers to an event or a room by foreign keys, whatever else it says.
#pragma once

#include "derive/derived_table.hpp"
#include "derive/fact_sql.hpp"

namespace sliding_sync {

/// Every function works inside an open SpiConnection.
class References {
public:
    References(const HomeserverSchema& schema, DerivedTable<JoinedRooms>& joined_rooms,
               DerivedTable<MembershipSnapshots>& snapshots);

    struct Found {
        std::vector<std::string_view> rooms;
        std::vector<MembershipKey> memberships;
    };
    /// Derived rows that refer to the event by now. An ordering or an id that is not given is not looked for.
    Found to_event(std::optional<std::int64_t> stream_ordering, std::optional<std::string_view> event_id);

    /// Removes everything that refers to a room which is being deleted, the homeserver's own queue included
    /// (H31); returns whose snapshots went.
    std::vector<MembershipKey> remove_all_of_room(std::string_view room_id);

private:
    const HomeserverSchema& schema_;
    DerivedTable<JoinedRooms>& joined_rooms_;
    DerivedTable<MembershipSnapshots>& snapshots_;
    TableReader snapshots_of_event_;
    Statement remove_snapshots_of_room_;
    Statement remove_queue_of_room_;
};

}  // namespace sliding_sync
