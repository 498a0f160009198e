#include "derive/key_lookup.hpp"

extern "C" {
#include "catalog/pg_type.h"
}

namespace sliding_sync {

KeyLookup::KeyLookup(const HomeserverSchema& s)
    : rooms_of_state_events_(
          "rooms_of_state_events",
          sql_text("SELECT c.room_id FROM %S.current_state_events c WHERE c.event_id %= ANY ($1) "
                   "UNION SELECT c.room_id FROM %S.redactions x "
                   "JOIN %S.current_state_events c ON c.event_id %= x.redacts WHERE x.event_id %= ANY ($1)",
                   s.name),
          {TEXTARRAYOID}),
      rooms_of_events_(
          "rooms_of_events",
          sql_text("SELECT DISTINCT e.room_id FROM %S.events e WHERE e.event_id %= ANY ($1)", s.name),
          {TEXTARRAYOID}),
      memberships_of_events_("memberships_of_events",
                             sql_text("SELECT DISTINCT rm.room_id, rm.user_id FROM %S.room_memberships rm "
                                      "WHERE rm.event_id %= ANY ($1)",
                                      s.name),
                             {TEXTARRAYOID}),
      memberships_of_rooms_(
          "memberships_of_rooms",
          sql_text(
              "SELECT l.room_id, l.user_id FROM %S.local_current_membership l WHERE l.room_id %= ANY ($1)",
              s.name),
          {TEXTARRAYOID}),
      rooms_after_("rooms_after",
                   sql_text("SELECT x.room_id FROM (SELECT j.room_id FROM %S.sliding_sync_joined_rooms j "
                            "WHERE j.room_id %> $1 UNION SELECT c.room_id FROM %S.current_state_events c "
                            "WHERE c.room_id %> $1 AND c.state_key %= '' AND c.type %= ANY (" +
                                relevant_types_array() + ")) x ORDER BY x.room_id LIMIT $2",
                            s.name),
                   {TEXTOID, INT8OID}),
      stale_memberships_after_(
          "stale_memberships_after",
          sql_text("SELECT m.room_id, m.user_id FROM %S.sliding_sync_membership_snapshots m "
                   "WHERE (m.room_id, m.user_id) %> ($1, $2) AND NOT EXISTS (SELECT FROM "
                   "%S.local_current_membership l WHERE l.room_id %= m.room_id AND l.user_id %= m.user_id "
                   "AND l.event_id %= m.membership_event_id) ORDER BY m.room_id, m.user_id LIMIT $3",
                   s.name),
          {TEXTOID, TEXTOID, INT8OID}) {}

std::vector<std::string_view> KeyLookup::rooms_of_state_events(std::span<const std::string_view> event_ids) {
    return first_column(rooms_of_state_events_.run(Arguments().texts(event_ids)));
}

std::vector<std::string_view> KeyLookup::rooms_of_events(std::span<const std::string_view> event_ids) {
    return first_column(rooms_of_events_.run(Arguments().texts(event_ids)));
}

std::vector<MembershipKey> KeyLookup::memberships_of_events(std::span<const std::string_view> event_ids) {
    return first_two_columns(memberships_of_events_.run(Arguments().texts(event_ids)));
}

std::vector<MembershipKey> KeyLookup::memberships_of_rooms(std::span<const std::string_view> room_ids) {
    return first_two_columns(memberships_of_rooms_.run(Arguments().texts(room_ids)));
}

std::vector<std::string_view> KeyLookup::rooms_after(std::string_view after, std::int64_t limit) {
    return first_column(rooms_after_.run(Arguments().text(after).number(limit)));
}

std::vector<MembershipKey> KeyLookup::stale_memberships_after(const MembershipKey& after,
                                                              std::int64_t limit) {
    return first_two_columns(
        stale_memberships_after_.run(Arguments().text(after.room_id).text(after.user_id).number(limit)));
}

}  // namespace sliding_sync
