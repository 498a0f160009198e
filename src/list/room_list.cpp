#include "list/room_list.hpp"

#include "derive/sql_text.hpp"

namespace sliding_sync {

namespace {

// A page is found among narrow rows, and only its own rooms are then looked at whole.
std::string page_query(const ListTables& tables, const ListRequest& request, ListOrder sort_by) {
    return "WITH listed AS MATERIALIZED (SELECT m.room_id, " + sort_keys(sort_by) + " FROM " + list_joins() +
           " WHERE m.user_id %= $1 AND " + is_listed(tables) + passes_filters(tables, request.filters) +
           "), page AS (SELECT * FROM listed l ORDER BY " + sort_columns(sort_by, "l") +
           " OFFSET $15 LIMIT $16) SELECT $15 %+ pg_catalog.row_number() OVER (ORDER BY " +
           sort_columns(sort_by, "p") + ") %- 1 AS place, (SELECT pg_catalog.count(*) FROM listed), " + list_columns() +
           " FROM page p JOIN %S.sliding_sync_membership_snapshots m ON m.room_id %= p.room_id AND m.user_id %= $1 "
           "LEFT JOIN %S.sliding_sync_joined_rooms j ON j.room_id %= p.room_id AND m.membership %= 'join' ORDER BY place";
}

// The whole list needs every row anyway: looking each up a second time would cost more than sorting it.
std::string whole_query(const ListTables& tables, const ListRequest& request, ListOrder sort_by) {
    return "SELECT pg_catalog.row_number() OVER (ORDER BY " + sort_columns(sort_by, "x") +
           ") %- 1 AS place, pg_catalog.count(*) OVER () AS total, x.room_id, x.membership, x.sender, "
           "x.membership_event_id, x.room_name, x.room_type, x.is_encrypted, x.has_known_state, "
           "x.tombstone_successor_room_id, x.event_stream_ordering, x.bump_stamp FROM (SELECT " +
           list_columns() + ", " + sort_keys(sort_by) + " FROM " + list_joins() + " WHERE m.user_id %= $1 AND " +
           is_listed(tables) + passes_filters(tables, request.filters) + ") x ORDER BY place OFFSET $15 LIMIT $16";
}

}  // namespace

ListOrder parse_sort_by(const std::string& text) {
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

void room_list(FunctionCallInfo call, const ListTables& tables, const ListRequest& request, ListOrder sort_by,
               const ListRange& range) {
    Arguments arguments = list_arguments(tables, request);
    std::optional<std::int64_t> limit;
    if (range.end) {
        if (*range.end < range.start) {
            return;
        }
        const std::int64_t last = std::min(*range.end, range.start + (std::int64_t{1} << 40));
        limit = last - range.start + 1;
    }
    arguments.number(range.start).number(limit);
    const std::string text =
        range.end ? page_query(tables, request, sort_by) : whole_query(tables, request, sort_by);
    caller_query(sql_text(text, tables.schema), list_argument_types({INT8OID, INT8OID}))
        ->return_rows(call, arguments);
}

}  // namespace sliding_sync
