#include "admin/catch_up.hpp"

#include "admin/watched.hpp"
#include "derive/refresh.hpp"
#include "derive/sql_text.hpp"
#include "server/transaction.hpp"

extern "C" {
#include "catalog/pg_type.h"
}

namespace sliding_sync {

namespace {

// Bounds the memory; the next pass goes on behind the last key.
constexpr std::int64_t keys_per_pass = 50'000;

using Key = std::pair<std::string, std::string>;  ///< room and user; no user: the room's own row

struct StaleKeys {
    std::vector<Key> keys;
    bool of_rooms = false;
};

// Not kept and not planned for key look-ups: these are passes over whole tables. What is asked of single rows in between is
// a scalar, so that the server does not walk through all events for it.
StaleKeys stale(const Homeserver& homeserver, const Key& after, const std::string& text, bool of_rooms) {
    StaleKeys found{{}, of_rooms};
    const WriteAs reader(homeserver.schema.derived_owner);
    const MaintenanceMemory memory;
    const SpiConnection connection;
    const Rows rows = query_once(sql_text(text, homeserver.schema.name), {INT8OID, TEXTOID, TEXTOID},
                                 Arguments().number(keys_per_pass).text(after.first).text(after.second));
    for (std::size_t i = 0; i < rows.count; ++i) {
        found.keys.emplace_back(rows[i][0].text(), of_rooms ? std::string_view() : rows[i][1].text());
    }
    return found;
}

StaleKeys stale_rooms(const Homeserver& homeserver, const Key& after) {
    return stale(homeserver, after,
                 "SELECT r.room_id FROM %S.rooms r LEFT JOIN %S.sliding_sync_joined_rooms j "
                 "ON j.room_id %= r.room_id CROSS JOIN LATERAL (SELECT " +
                     latest_ordering(homeserver.schema, "r.room_id") +
                     " AS latest, CASE WHEN j.room_id IS NOT NULL THEN " +
                     latest_bump_ordering(homeserver.schema, "r.room_id") +
                     " END AS bump OFFSET 0) newest "
                     "WHERE CASE WHEN j.room_id IS NULL THEN newest.latest IS NOT NULL AND (SELECT 1 FROM "
                     "%S.current_state_events c JOIN %S.events e ON e.event_id %= c.event_id "
                     "AND e.room_id %= c.room_id AND e.type %= c.type JOIN %S.event_json x "
                     "ON x.event_id %= c.event_id WHERE c.room_id %= r.room_id AND c.state_key %= '' "
                     "AND c.type %= ANY (" +
                     relevant_types_array() +
                     ") LIMIT 1) IS NOT NULL ELSE newest.latest IS DISTINCT FROM j.event_stream_ordering "
                     "OR newest.bump IS DISTINCT FROM j.bump_stamp END AND r.room_id %> $2 "
                     "AND $3 IS NOT NULL ORDER BY r.room_id LIMIT $1",
                 true);
}

StaleKeys stale_memberships(const Homeserver& homeserver, const Key& after) {
    return stale(homeserver, after,
                 "SELECT COALESCE(l.room_id, m.room_id), COALESCE(l.user_id, m.user_id) "
                 "FROM %S.local_current_membership l FULL JOIN %S.sliding_sync_membership_snapshots m "
                 "ON m.room_id %= l.room_id AND m.user_id %= l.user_id "
                 "WHERE CASE WHEN l.event_id %= m.membership_event_id THEN "
                 // only who is out of a room can have forgotten it
                 "l.membership %= ANY (ARRAY['leave','ban']) AND m.forgotten %<> COALESCE((SELECT CASE WHEN "
                 "rm.forgotten %<> 0 THEN 1 ELSE 0 END FROM %S.room_memberships rm "
                 "WHERE rm.event_id %= l.event_id), m.forgotten) "
                 "ELSE m.room_id IS NOT NULL OR "
                 "(SELECT 1 FROM %S.events e JOIN %S.rooms r ON r.room_id %= e.room_id "
                 "WHERE e.event_id %= l.event_id AND e.room_id %= l.room_id AND e.type %= 'm.room.member' "
                 "AND e.stream_ordering IS NOT NULL LIMIT 1) IS NOT NULL END "
                 "AND (COALESCE(l.room_id, m.room_id), COALESCE(l.user_id, m.user_id)) %> ($2, $3) "
                 "ORDER BY 1, 2 LIMIT $1",
                 false);
}

Changes changes_of(const StaleKeys& stale) {
    Changes changes;
    for (const auto& [room_id, user_id] : stale.keys) {
        if (stale.of_rooms) {
            changes.rooms.push_back(whole_room(room_id));
        } else {
            changes.memberships.push_back({room_id, user_id});
        }
    }
    return changes;
}

Refreshed remove(const Homeserver& homeserver, const StaleKeys& stale) {
    Refreshed removed;
    const Changes changes = changes_of(stale);
    std::vector<std::string_view> room_ids;
    std::vector<QuarantineKey> keys;
    for (const RoomChange& room : changes.rooms) {
        room_ids.push_back(room.room_id);
        keys.push_back({room.room_id, std::nullopt});
    }
    for (const MembershipKey& membership : changes.memberships) {
        keys.push_back({membership.room_id, membership.user_id});
    }
    {
        const WriteAs owner(homeserver.schema.derived_owner);
        const SpiConnection connection;
        removed.rows_written = stale.of_rooms
                                   ? homeserver.street.apply.remove_joined_rooms(room_ids)
                                   : homeserver.street.apply.remove_memberships(changes.memberships);
    }
    note_stale(homeserver.schema, stale.of_rooms ? joined_rooms_table : membership_snapshots_table, keys);
    removed.failed = keys.size();
    return removed;
}

// Pass after pass to the last key: one that nothing can be done about stands in no other's way.
template <typename Find>
std::int64_t settle(const Homeserver& homeserver, CatchUpMode mode, CaughtUp& result, Find find) {
    std::int64_t count = 0;
    Key after;
    while (true) {
        const StaleKeys found = find(homeserver, after);
        if (found.keys.empty()) {
            return count;
        }
        const Refreshed done = mode == CatchUpMode::repair
                                   ? refresh(homeserver, changes_of(found), rules::Occasion::recall)
                                   : remove(homeserver, found);
        count += static_cast<std::int64_t>(found.keys.size());
        result.rows_written += static_cast<std::int64_t>(done.rows_written);
        result.set_aside += static_cast<std::int64_t>(done.failed);
        if (found.keys.size() < static_cast<std::size_t>(keys_per_pass)) {
            return count;
        }
        after = found.keys.back();
    }
}

}  // namespace

CatchUpMode parse_catch_up_mode(const std::string& text) {
    if (text == "repair") {
        return CatchUpMode::repair;
    }
    if (text == "remove") {
        return CatchUpMode::remove;
    }
    throw Error(ERRCODE_INVALID_PARAMETER_VALUE, "\"" + text + "\" is no way to catch up", "",
                "Use repair or remove.");
}

CaughtUp catch_up(const AttachedHomeserver& attached, CatchUpMode mode) {
    CaughtUp result;
    const Watched watched = read_watched(attached.schema);
    result.had_gap = !watched.is_known || watched.has_gap;
    if (!result.had_gap) {
        return result;
    }
    watch_again(attached.schema);
    const auto held = homeserver_in(attached.namespace_oid);
    const Homeserver& homeserver = *held;
    result.joined_rooms = settle(homeserver, mode, result, stale_rooms);
    result.memberships = settle(homeserver, mode, result, stale_memberships);
    note_caught_up(attached.schema);
    return result;
}

}  // namespace sliding_sync
