#include "derive/references.hpp"

#include "derive/own_deletes.hpp"

namespace sliding_sync {

References::References(const HomeserverSchema& s, DerivedTable<JoinedRooms>& joined_rooms,
                       DerivedTable<MembershipSnapshots>& snapshots)
    : schema_(s), joined_rooms_(joined_rooms), snapshots_(snapshots),
      snapshots_of_event_("snapshots_of_event", s, membership_snapshots_table,
                          {{"membership_event_id", TEXTOID}}, {"room_id", "user_id"}),
      remove_snapshots_of_room_("remove_snapshots_of_room",
                                sql_text(R"(
              DELETE FROM %S.sliding_sync_membership_snapshots m
              WHERE m.room_id %= $1
              RETURNING m.room_id, m.user_id)",
                                         s.name),
                                {TEXTOID}),
      remove_queue_of_room_(
          "remove_queue_of_room",
          sql_text("DELETE FROM %S.sliding_sync_joined_rooms_to_recalculate q WHERE q.room_id %= $1", s.name),
          {TEXTOID}) {}

References::Found References::to_event(std::optional<std::int64_t> stream_ordering,
                                       std::optional<std::string_view> event_id) {
    Found found;
    const bool has_snapshots = schema_.membership_snapshots == TableShape::known;
    if (schema_.joined_rooms == TableShape::known && stream_ordering) {
        found.rooms = joined_rooms_.with_ordering(*stream_ordering);
    }
    if (has_snapshots && stream_ordering) {
        found.memberships = snapshots_.with_ordering(*stream_ordering);
    }
    if (has_snapshots && event_id) {
        LookupScope scope;
        const auto of_event = first_two_columns(snapshots_of_event_.find(scope, {*event_id}));
        found.memberships.insert(found.memberships.end(), of_event.begin(), of_event.end());
    }
    std::sort(found.memberships.begin(), found.memberships.end());
    found.memberships.erase(std::unique(found.memberships.begin(), found.memberships.end()),
                            found.memberships.end());
    return found;
}

std::vector<MembershipKey> References::remove_all_of_room(std::string_view room_id) {
    std::vector<MembershipKey> keys;
    if (schema_.joined_rooms != TableShape::missing) {
        joined_rooms_.remove({&room_id, 1});
    }
    if (schema_.membership_snapshots != TableShape::missing) {
        const OwnDelete own(
            schema_.namespace_oid, false,
            [&](std::string_view its_room_id, std::string_view) { return its_room_id == room_id; });
        keys = first_two_columns(remove_snapshots_of_room_.run(Arguments().text(room_id)));
    }
    if (schema_.has_recalculate_queue) {
        remove_queue_of_room_.run(Arguments().text(room_id));
    }
    return keys;
}

}  // namespace sliding_sync
