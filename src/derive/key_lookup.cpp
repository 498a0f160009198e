#include "derive/key_lookup.hpp"

extern "C" {
#include "catalog/pg_type.h"
}

namespace sliding_sync {

namespace {

const std::vector<KeyColumn> membership_key{{"room_id", TEXTOID}, {"user_id", TEXTOID}};

std::string rooms_of_redactions_sql() {
    return R"(
        SELECT e.room_id, ''
        FROM %S.events e
        WHERE e.event_id %= ANY ($1) AND e.type %= ANY ()" +
           relevant_types_array() + R"()
        UNION
        SELECT t.room_id, x.event_id
        FROM %S.redactions x JOIN %S.events t ON t.event_id %= x.redacts
        WHERE x.event_id %= ANY ($1) AND t.type %= ANY ()" +
           relevant_types_array() + R"()
        UNION
        -- who stores the redacted event later does not see a redaction that is not committed
        SELECT e.room_id, x.event_id
        FROM %S.redactions x JOIN %S.events e ON e.event_id %= x.event_id
        WHERE x.event_id %= ANY ($1)
            AND (SELECT t.event_id FROM %S.events t WHERE t.event_id %= x.redacts) IS NULL)";
}

constexpr std::string_view rooms_of_events_sql = R"(
    SELECT DISTINCT e.room_id
    FROM %S.events e
    WHERE e.event_id %= ANY ($1))";

constexpr std::string_view memberships_of_events_sql = R"(
    WITH k AS MATERIALIZED (
        SELECT k.event_id FROM pg_catalog.unnest($1) k(event_id)
        UNION SELECT x.redacts FROM %S.redactions x WHERE x.event_id %= ANY ($1))
    SELECT l.room_id, l.user_id
    FROM k
    JOIN %S.events e ON e.event_id %= k.event_id
    JOIN %S.local_current_membership l ON l.room_id %= e.room_id AND l.user_id %= e.state_key
    WHERE e.type %= 'm.room.member'
    UNION
    -- older than the column
    SELECT l.room_id, l.user_id
    FROM k
    JOIN %S.events e ON e.event_id %= k.event_id
    JOIN %S.local_current_membership l ON l.room_id %= e.room_id AND l.event_id %= e.event_id
    WHERE e.type %= 'm.room.member' AND e.state_key IS NULL
    UNION
    SELECT l.room_id, l.user_id
    FROM k
    JOIN %S.room_memberships rm ON rm.event_id %= k.event_id
    JOIN %S.local_current_membership l ON l.room_id %= rm.room_id AND l.user_id %= rm.user_id)";

constexpr std::string_view memberships_of_rooms_sql = R"(
    SELECT l.room_id, l.user_id
    FROM %S.local_current_membership l
    WHERE l.room_id %= ANY ($1))";

constexpr std::string_view incomplete_memberships_sql = R"(
    SELECT l.room_id, l.user_id
    FROM %S.local_current_membership l
    LEFT JOIN %S.sliding_sync_membership_snapshots m ON m.room_id %= l.room_id AND m.user_id %= l.user_id
    WHERE l.room_id %= ANY ($1) AND (m.room_id IS NULL OR NOT m.has_known_state
        OR EXISTS (SELECT FROM %S.events e WHERE e.event_id %= l.event_id
            AND (e.sender IS NULL OR e.state_key IS NULL))))";

// A row without a room can only be left over from a table without its foreign key. The end is a value in any
// case, so that the scans stop there.
constexpr std::string_view rooms_between_sql = R"(
    SELECT DISTINCT x.room_id
    FROM (SELECT COALESCE($2, GREATEST(
            (SELECT r.room_id FROM %S.rooms r ORDER BY r.room_id DESC LIMIT 1),
            (SELECT j.room_id FROM %S.sliding_sync_joined_rooms j ORDER BY j.room_id DESC LIMIT 1)))
        AS room_id OFFSET 0) up_to
    CROSS JOIN LATERAL (
        (SELECT r.room_id
         FROM %S.rooms r
         WHERE r.room_id %> $1 AND r.room_id %<= up_to.room_id
         ORDER BY r.room_id LIMIT $3)
        UNION ALL
        (SELECT j.room_id
         FROM %S.sliding_sync_joined_rooms j
         WHERE j.room_id %> $1 AND j.room_id %<= up_to.room_id
         ORDER BY j.room_id LIMIT $3)) x
    ORDER BY x.room_id LIMIT $3)";

constexpr std::string_view memberships_between_sql = R"(
    SELECT DISTINCT x.room_id, x.user_id
    FROM (SELECT COALESCE($3, GREATEST(
            (SELECT l.room_id FROM %S.local_current_membership l ORDER BY l.room_id DESC LIMIT 1),
            (SELECT m.room_id FROM %S.sliding_sync_membership_snapshots m ORDER BY m.room_id DESC LIMIT 1)))
        AS room_id OFFSET 0) up_to
    CROSS JOIN LATERAL (
        (SELECT l.room_id, l.user_id
         FROM %S.local_current_membership l
         WHERE l.room_id %>= $1 AND l.room_id %<= up_to.room_id
             AND (l.room_id %> $1 OR ($2 %<> '' AND l.user_id %> $2))
         ORDER BY l.room_id, l.user_id LIMIT $4)
        UNION ALL
        (SELECT m.room_id, m.user_id
         FROM %S.sliding_sync_membership_snapshots m
         WHERE m.room_id %>= $1 AND m.room_id %<= up_to.room_id
             AND (m.room_id %> $1 OR ($2 %<> '' AND m.user_id %> $2))
         ORDER BY m.room_id, m.user_id LIMIT $4)) x
    ORDER BY x.room_id, x.user_id LIMIT $4)";

// Of the derived tables, what is left over: rows without a room or membership. So each key is drawn once.
// (NOT EXISTS would be planned as a join, which reads the other table to its end.)
constexpr std::string_view drawn_rooms_sql = R"(
    SELECT r.room_id
    FROM %S.rooms r TABLESAMPLE %M ($1::pg_catalog.float4)
    UNION ALL
    SELECT j.room_id
    FROM %S.sliding_sync_joined_rooms j TABLESAMPLE %M ($1::pg_catalog.float4)
    WHERE (SELECT r.room_id FROM %S.rooms r WHERE r.room_id %= j.room_id LIMIT 1) IS NULL
    ORDER BY 1)";

constexpr std::string_view drawn_memberships_sql = R"(
    SELECT l.room_id, l.user_id
    FROM %S.local_current_membership l TABLESAMPLE %M ($1::pg_catalog.float4)
    UNION ALL
    SELECT m.room_id, m.user_id
    FROM %S.sliding_sync_membership_snapshots m TABLESAMPLE %M ($1::pg_catalog.float4)
    WHERE (SELECT l.room_id FROM %S.local_current_membership l
        WHERE l.room_id %= m.room_id AND l.user_id %= m.user_id LIMIT 1) IS NULL
    ORDER BY 1, 2)";

constexpr std::string_view memberships_of_room_sql = R"(
    SELECT l.room_id, l.user_id
    FROM %S.local_current_membership l
    WHERE l.room_id %= $1 AND ($2 IS NULL OR l.user_id %= $2)
    UNION
    SELECT m.room_id, m.user_id
    FROM %S.sliding_sync_membership_snapshots m
    WHERE m.room_id %= $1 AND ($2 IS NULL OR m.user_id %= $2)
    ORDER BY 1, 2)";

constexpr std::string_view memberships_of_user_sql = R"(
    SELECT l.room_id, l.user_id
    FROM %S.local_current_membership l
    WHERE l.user_id %= $1
    UNION
    SELECT m.room_id, m.user_id
    FROM %S.sliding_sync_membership_snapshots m
    WHERE m.user_id %= $1
    ORDER BY 1, 2)";

constexpr std::string_view room_before_sql = R"(
    SELECT r.room_id
    FROM %S.rooms r
    WHERE r.room_id %< $1
    ORDER BY r.room_id DESC LIMIT 1)";

constexpr std::string_view stale_memberships_after_sql = R"(
    SELECT m.room_id, m.user_id
    FROM %S.sliding_sync_membership_snapshots m
    WHERE (m.room_id, m.user_id) %> ($1, $2)
        AND NOT EXISTS (SELECT FROM %S.local_current_membership l WHERE l.room_id %= m.room_id
            AND l.user_id %= m.user_id AND l.event_id %= m.membership_event_id)
    ORDER BY m.room_id, m.user_id LIMIT $3)";

}  // namespace

KeyLookup::KeyLookup(const HomeserverSchema& s)
    : schema_name_(s.name),
      named_events_("named_events", s, table_name(BaseTable::events), {{"event_id", TEXTOID}}, {}),
      rooms_of_redactions_("rooms_of_redactions", sql_text(rooms_of_redactions_sql(), s.name),
                           {TEXTARRAYOID}),
      rooms_of_events_("rooms_of_events", sql_text(rooms_of_events_sql, s.name), {TEXTARRAYOID}),
      memberships_of_events_("memberships_of_events", sql_text(memberships_of_events_sql, s.name),
                             {TEXTARRAYOID}),
      memberships_of_rooms_("memberships_of_rooms", sql_text(memberships_of_rooms_sql, s.name),
                            {TEXTARRAYOID}),
      incomplete_memberships_("incomplete_memberships", sql_text(incomplete_memberships_sql, s.name),
                              {TEXTARRAYOID}),
      local_memberships_("local_memberships", s, table_name(BaseTable::local_current_membership),
                         membership_key, {}),
      rooms_between_("rooms_between", sql_text(rooms_between_sql, s.name), {TEXTOID, TEXTOID, INT8OID}),
      memberships_between_("memberships_between", sql_text(memberships_between_sql, s.name),
                           {TEXTOID, TEXTOID, TEXTOID, INT8OID}),
      memberships_of_room_("memberships_of_room", sql_text(memberships_of_room_sql, s.name),
                           {TEXTOID, TEXTOID}),
      memberships_of_user_("memberships_of_user", sql_text(memberships_of_user_sql, s.name), {TEXTOID}),
      room_before_("room_before", sql_text(room_before_sql, s.name), {TEXTOID}),
      stale_memberships_after_("stale_memberships_after", sql_text(stale_memberships_after_sql, s.name),
                               {TEXTOID, TEXTOID, INT8OID}) {}

std::vector<RoomOfRedaction> KeyLookup::rooms_of_redactions(std::span<const std::string_view> event_ids) {
    std::vector<RoomOfRedaction> found;
    const Rows rows = rooms_of_redactions_.run(Arguments().texts(event_ids));
    for (std::size_t i = 0; i < rows.count; ++i) {
        found.push_back({rows[i][0].text(), rows[i][1].text()});
    }
    return found;
}

std::vector<std::string_view> KeyLookup::missing_events(std::vector<std::string_view> event_ids) {
    for (const SnapshotKind kind : {SnapshotKind::current, SnapshotKind::before_transaction}) {
        LookupScope scope(kind);
        std::erase_if(event_ids, [&](std::string_view event_id) {
            return named_events_.find(scope, {event_id}).count > 0;
        });
        if (event_ids.empty()) {
            break;
        }
    }
    return event_ids;
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

std::vector<MembershipKey>
KeyLookup::incomplete_memberships_of_rooms(std::span<const std::string_view> room_ids) {
    return first_two_columns(incomplete_memberships_.run(Arguments().texts(room_ids)));
}

std::vector<MembershipKey> KeyLookup::local_memberships(std::span<const MembershipKey> keys) {
    LookupScope scope;
    std::vector<MembershipKey> found;
    for (const MembershipKey& key : keys) {
        if (local_memberships_.find(scope, {key.room_id, key.user_id}).count > 0) {
            found.push_back(key);
        }
    }
    return found;
}

std::vector<std::string_view> KeyLookup::rooms_after(std::string_view after, std::int64_t limit) {
    return rooms_between(after, std::nullopt, limit).keys;
}

KeyLookup::Page<std::string_view> KeyLookup::rooms_between(std::string_view after,
                                                           const std::optional<std::string>& up_to,
                                                           std::int64_t limit) {
    const Rows rows = rooms_between_.run(Arguments().text(after).optional_text(up_to).number(limit));
    return {first_column(rows), rows.count < static_cast<std::size_t>(limit)};
}

KeyLookup::Page<MembershipKey> KeyLookup::memberships_between(const MembershipKey& after,
                                                              const std::optional<std::string>& up_to,
                                                              std::int64_t limit) {
    const Rows rows = memberships_between_.run(
        Arguments().text(after.room_id).text(after.user_id).optional_text(up_to).number(limit));
    return {first_two_columns(rows), rows.count < static_cast<std::size_t>(limit)};
}

Rows KeyLookup::draw(std::string_view sql, double share, bool are_pages) const {
    std::string text(sql);
    for (std::size_t at = text.find("%M"); at != std::string::npos; at = text.find("%M", at)) {
        text.replace(at, 2, are_pages ? "SYSTEM" : "BERNOULLI");
    }
    return query_once(sql_text(text, schema_name_), {FLOAT8OID}, Arguments().real(100 * share));
}

std::vector<std::string_view> KeyLookup::drawn_rooms(double share, bool are_pages) {
    return first_column(draw(drawn_rooms_sql, share, are_pages));
}

std::vector<MembershipKey> KeyLookup::drawn_memberships(double share, bool are_pages) {
    return first_two_columns(draw(drawn_memberships_sql, share, are_pages));
}

std::vector<MembershipKey> KeyLookup::memberships_of(const std::optional<std::string>& room_id,
                                                     const std::optional<std::string>& user_id) {
    if (room_id) {
        return first_two_columns(memberships_of_room_.run(Arguments().text(*room_id).optional_text(user_id)));
    }
    return first_two_columns(memberships_of_user_.run(Arguments().text(*user_id)));
}

std::string_view KeyLookup::room_before(std::string_view room_id) {
    const Rows rows = room_before_.run(Arguments().text(room_id));
    return rows.count > 0 ? rows[0][0].text() : std::string_view();
}

std::vector<MembershipKey> KeyLookup::stale_memberships_after(const MembershipKey& after,
                                                              std::int64_t limit) {
    return first_two_columns(
        stale_memberships_after_.run(Arguments().text(after.room_id).text(after.user_id).number(limit)));
}

}  // namespace sliding_sync
