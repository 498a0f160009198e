#include "list/room_list.hpp"

#include "list/list_page.hpp"
#include "shared/sql_text.hpp"

#include <limits>

namespace sliding_sync {

namespace {

// A page is found among narrow rows, and only its own rooms are then looked at whole.
std::string narrow_query(const ListTables& tables, const ListRequest& request, ListOrder order) {
    return R"(
        WITH listed AS MATERIALIZED (
            SELECT m.room_id, )" +
           sort_keys(order) + " FROM " + listed_rooms(tables, request.filters) + R"()
        SELECT l.room_id, (SELECT pg_catalog.count(*) FROM listed)
        FROM listed l
        ORDER BY )" +
           sort_columns(order, "l") + " OFFSET $15 LIMIT $16";
}

std::string page_query() {
    return "SELECT m.n %+ $3 %- 1 AS place, $4, " + list_columns() + R"(
        FROM (SELECT k.n, s.* FROM )" +
           memberships_in("$2") + R"() m
        LEFT JOIN %S.sliding_sync_joined_rooms j ON j.room_id %= m.room_id AND m.membership %= 'join'
        ORDER BY place)";
}

// The whole list needs every row anyway: looking each up a second time would cost more than sorting it.
std::string whole_query(const ListTables& tables, const ListRequest& request, ListOrder order) {
    return "SELECT pg_catalog.row_number() OVER (ORDER BY " + sort_columns(order, "x") + R"() %- 1 AS place,
            pg_catalog.count(*) OVER () AS total, x.room_id, x.membership, x.sender, x.membership_event_id,
            x.room_name, x.room_type, x.is_encrypted, x.has_known_state, x.tombstone_successor_room_id,
            x.event_stream_ordering, x.bump_stamp
        FROM (SELECT )" +
           list_columns() + ", " + sort_keys(order) + " FROM " + listed_rooms(tables, request.filters) +
           R"() x
        ORDER BY place OFFSET $15)";
}

}  // namespace

ListOrder parse_list_order(const std::string& text) {
    if (text == "recency") {
        return ListOrder::recency;
    }
    if (text == "bump") {
        return ListOrder::bump;
    }
    if (text == "name") {
        return ListOrder::name;
    }
    throw Error(ERRCODE_INVALID_PARAMETER_VALUE, "sort_by must not be \"" + text + "\"", "",
                "Say 'recency', 'bump' or 'name'.");
}

void room_list(FunctionCallInfo call, const ListTables& tables, const ListRequest& request, ListOrder order,
               const ListRange& range) {
    if (range.end && *range.end < range.start) {
        return;
    }
    const ListSets sets = read_list_sets(tables, request);
    if (return_page(call, tables, request, sets, order, range)) {
        return;
    }
    Arguments arguments = list_arguments(request, sets);
    arguments.number(range.start);
    const Joins joins = joins_for(tables, request.user_id);
    if (!range.end) {
        caller_query(sql_text(whole_query(tables, request, order), tables.schema),
                     list_argument_types({INT8OID}), joins)
            ->return_rows(call, arguments);
        return;
    }
    const std::int64_t most = std::numeric_limits<std::int64_t>::max() - 1;
    arguments.number(std::min(*range.end, most) - range.start + 1);
    const Rows page = caller_query(sql_text(narrow_query(tables, request, order), tables.schema),
                                   list_argument_types({INT8OID, INT8OID}), joins)
                          ->run(arguments);
    if (page.count == 0) {
        return;
    }
    std::vector<std::string_view> rooms;
    for (std::size_t i = 0; i < page.count; ++i) {
        rooms.push_back(page[i][0].text());
    }
    caller_query(sql_text(page_query(), tables.schema), {TEXTOID, TEXTARRAYOID, INT8OID, INT8OID})
        ->return_rows(
            call,
            Arguments().text(request.user_id).texts(rooms).number(range.start).number(page[0][1].number));
}

}  // namespace sliding_sync
