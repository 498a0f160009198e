#include "derive/references.hpp"

extern "C" {
#include "catalog/pg_type.h"
}

namespace sliding_sync {

References::References(const HomeserverSchema& s)
    : has_joined_rooms_(s.joined_rooms == TableShape::known),
      has_snapshots_(s.membership_snapshots == TableShape::known),
      rooms_of_ordering_("rooms_of_ordering", s, joined_rooms_table, {{"event_stream_ordering", INT8OID}},
                         {"room_id"}),
      snapshots_of_ordering_("snapshots_of_ordering", s, membership_snapshots_table,
                             {{"event_stream_ordering", INT8OID}}, {"room_id", "user_id"}),
      snapshots_of_event_("snapshots_of_event", s, membership_snapshots_table,
                          {{"membership_event_id", TEXTOID}}, {"room_id", "user_id"}) {}

References::Found References::to_event(std::optional<std::int64_t> stream_ordering,
                                       std::optional<std::string_view> event_id) {
    Found found;
    LookupScope scope;
    const auto add_snapshots = [&](const Rows& rows) {
        for (std::size_t i = 0; i < rows.count; ++i) {
            found.memberships.push_back({rows[i][0].text(), rows[i][1].text()});
        }
    };
    if (has_joined_rooms_ && stream_ordering) {
        const Rows rows = rooms_of_ordering_.find(scope, {*stream_ordering});
        for (std::size_t i = 0; i < rows.count; ++i) {
            found.rooms.push_back(rows[i][0].text());
        }
    }
    if (has_snapshots_ && stream_ordering) {
        add_snapshots(snapshots_of_ordering_.find(scope, {*stream_ordering}));
    }
    if (has_snapshots_ && event_id) {
        add_snapshots(snapshots_of_event_.find(scope, {*event_id}));
    }
    std::sort(found.memberships.begin(), found.memberships.end());
    found.memberships.erase(std::unique(found.memberships.begin(), found.memberships.end()),
                            found.memberships.end());
    return found;
}

}  // namespace sliding_sync
