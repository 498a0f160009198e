// Which derived rows refer to an event by their foreign keys, whatever else they say.
#pragma once

#include "derive/fact_sql.hpp"
#include "pg/table_reader.hpp"

namespace sliding_sync {

class References {
public:
    explicit References(const HomeserverSchema& schema);

    struct Found {
        std::vector<std::string_view> rooms;
        std::vector<MembershipKey> memberships;
    };
    /// By now, and inside an open SpiConnection. An ordering or an id that is not given is not looked for.
    Found to_event(std::optional<std::int64_t> stream_ordering, std::optional<std::string_view> event_id);

private:
    bool has_joined_rooms_;
    bool has_snapshots_;
    TableReader rooms_of_ordering_;
    TableReader snapshots_of_ordering_;
    TableReader snapshots_of_event_;
};

}  // namespace sliding_sync
