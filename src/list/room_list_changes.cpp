// A room has changed since a position if its own position is newer, or the user's membership: every such room
// stands above all others, so its place is found without them.
//
// Whether it was in the list then is asked of the user's membership events: the newest one up to the
// position. What has no position cannot be asked for, and is taken to be as it is now: tags, account data,
// ignored users, children of spaces. `forgotten` is known by membership event, but not since when; see
// `past`.
#include "list/room_list_changes.hpp"

#include "shared/sql_text.hpp"

namespace sliding_sync {

namespace {

// The membership as it was at the position. An event that is marked as forgotten was forgotten then, unless a
// newer one is marked too: forgetting marks all that there are, so the mark may be as new as that.
std::string past_memberships(const ListTables& tables, const ListFilters& filters) {
    const std::string events = R"(
        FROM %S.room_memberships e JOIN %S.events v ON v.event_id %= e.event_id
        WHERE e.user_id %= $1 AND e.room_id %= s.room_id AND v.stream_ordering )";
    return R"(
        SELECT s.room_id, s.event_stream_ordering %> $15 AS is_new,
            CASE WHEN s.event_stream_ordering %> $15 THEN p.membership ELSE s.membership END AS membership,
            CASE WHEN s.event_stream_ordering %> $15 THEN p.sender ELSE s.sender END AS sender,
            CASE WHEN s.event_stream_ordering %> $15 THEN p.forgotten ELSE s.forgotten END AS forgotten
        FROM )" +
           memberships_in("$16") + R"(
            JOIN %S.rooms r ON r.room_id %= s.room_id AND r.room_version %= ANY ($2)
            LEFT JOIN LATERAL (
                SELECT e.membership, e.sender,
                    CASE WHEN e.forgotten %= 1 AND NOT EXISTS (
                        SELECT )" +
           events + R"(%> $15 AND e.forgotten %= 1) THEN 1 ELSE 0 END AS forgotten )" + events +
           R"(%<= $15 AND v.stream_ordering %> 0
                ORDER BY v.stream_ordering DESC LIMIT 1) p ON s.event_stream_ordering %> $15
        WHERE true )" +
           lasting_filters(tables, filters);
}

std::string is_one_of(const std::string& room, const std::string& rooms) {
    return "(" + room + " %= ANY (SELECT pg_catalog.unnest(ARRAY(SELECT x.room_id FROM " + rooms +
           " x)))) IS TRUE";
}

// A place by counting: for a room that changed although its position is no newer, as after a purge.
std::string counted_place(const ListTables& tables, const ListFilters& filters) {
    const bool has_condition =
        filters.is_encrypted || filters.room_types || filters.not_room_types || filters.room_name_like;
    return "(SELECT pg_catalog.count(*) FROM " + listed_rooms(tables, filters) +
           (has_condition ? " AND " : " WHERE ") + position_of_room() + " %> l.position)";
}

std::string changes_query(const ListTables& tables, const ListRequest& request) {
    const ListFilters& filters = request.filters;
    // What may change without the user's doing. Whether such a room has passed before, nothing tells.
    const bool may_change = filters.is_encrypted || filters.room_name_like;
    const ListOrder order = ListOrder::recency;
    return "WITH past AS MATERIALIZED (" + past_memberships(tables, filters) + R"(),
        was_listed AS MATERIALIZED (
            SELECT p.room_id, p.is_new FROM past p
            WHERE p.membership IS NOT NULL AND )" +
           is_listed(tables, "p") + invite_filter(filters, "p") + R"(),
        listed AS MATERIALIZED (
            SELECT m.room_id, )" +
           sort_keys(order) + " FROM " + listed_rooms(tables, filters, memberships_in("$16")) + R"(),
        placed AS (
            SELECT l.room_id, l.position, pg_catalog.row_number() OVER (ORDER BY )" +
           sort_columns(order, "l") + R"() %- 1 AS rank
            FROM listed l),
        changed AS (
            SELECT l.room_id, CASE WHEN l.position %> $15 THEN l.rank ELSE )" +
           counted_place(tables, filters) + R"( END AS place,
                CASE WHEN )" +
           is_one_of("l.room_id", "was_listed") + R"( THEN 'updated' ELSE 'entered' END AS change
            FROM placed l
            UNION ALL
            SELECT w.room_id, NULL, 'left' FROM was_listed w
            WHERE )" +
           (may_change ? "true" : "w.is_new") + " AND NOT " + is_one_of("w.room_id", "listed") + R"()
        SELECT c.place, NULL::bigint, )" +
           list_columns() + R"(, c.change
        FROM changed c
            CROSS JOIN LATERAL (SELECT x.* FROM %S.sliding_sync_membership_snapshots x
                                WHERE x.room_id %= c.room_id AND x.user_id %= $1 OFFSET 0) m
            LEFT JOIN %S.sliding_sync_joined_rooms j ON j.room_id %= c.room_id AND m.membership %= 'join'
        ORDER BY c.place, c.room_id COLLATE pg_catalog."C")";
}

/// The rooms whose own position, or whose membership of the user, is newer. From the server's newest rooms to
/// the user's memberships, or the other way round where more of the server's rooms have changed than the user
/// is in.
Rows touched_rooms(const ListTables& tables, const std::string& user_id, std::int64_t since) {
    constexpr std::int64_t many = 1000;
    const auto query = [&](const std::string& text, const std::vector<Oid>& types,
                           Joins joins = Joins::nested) {
        return caller_query(sql_text(text, tables.schema), types, joins);
    };
    const Rows changed = query(R"(
            SELECT j.room_id
            FROM %S.sliding_sync_joined_rooms j
            WHERE j.event_stream_ordering %> $1
            LIMIT $2)",
                               {INT8OID, INT8OID})
                             ->run(Arguments().number(since).number(many));
    const auto count = static_cast<std::int64_t>(changed.count);
    const Rows memberships = query(R"(
            SELECT pg_catalog.count(*)
            FROM (SELECT FROM %S.sliding_sync_membership_snapshots s WHERE s.user_id %= $1 LIMIT $2) x)",
                                   {TEXTOID, INT8OID})
                                 ->run(Arguments().text(user_id).number(count + 1));
    if (count == many || memberships[0][0].number <= count) {
        return query(R"(
            SELECT s.room_id
            FROM (
                SELECT s.*
                FROM %S.sliding_sync_membership_snapshots s
                WHERE s.user_id %= $1
                ORDER BY s.room_id OFFSET 0) s
            LEFT JOIN %S.sliding_sync_joined_rooms j ON j.room_id %= s.room_id AND s.membership %= 'join'
            WHERE s.event_stream_ordering %> $2 OR j.event_stream_ordering %> $2)",
                     {TEXTOID, INT8OID}, joins_for(tables, user_id))
            ->run(Arguments().text(user_id).number(since));
    }
    std::vector<std::string_view> rooms;
    for (std::size_t i = 0; i < changed.count; ++i) {
        rooms.push_back(changed[i][0].text());
    }
    // The comparison of rows leaves the planner no index but that of the user's memberships.
    return query(R"(
            SELECT s.room_id
            FROM %S.sliding_sync_membership_snapshots s
            WHERE s.user_id %= $1 AND ROW(s.user_id, s.event_stream_ordering) %> ROW($1, $2)
            UNION ALL
            SELECT s.room_id
            FROM )" + memberships_in("$3") +
                     R"(
            WHERE s.membership %= 'join' AND s.event_stream_ordering %<= $2)",
                 {TEXTOID, INT8OID, TEXTARRAYOID})
        ->run(Arguments().text(user_id).number(since).texts(rooms));
}

}  // namespace

void room_list_changes(FunctionCallInfo call, const ListTables& tables, const ListRequest& request,
                       std::int64_t since) {
    require_select(tables, std::array{"room_memberships", "events"});
    const ListSets sets = read_list_sets(tables, request);
    const Rows changed_rooms = touched_rooms(tables, request.user_id, since);
    if (changed_rooms.count == 0) {
        return;
    }
    std::vector<std::string_view> rooms;
    for (std::size_t i = 0; i < changed_rooms.count; ++i) {
        rooms.push_back(changed_rooms[i][0].text());
    }
    Arguments arguments = list_arguments(request, sets);
    arguments.number(since).texts(rooms);
    caller_query(sql_text(changes_query(tables, request), tables.schema),
                 list_argument_types({INT8OID, TEXTARRAYOID}))
        ->return_rows(call, arguments);
}

}  // namespace sliding_sync
