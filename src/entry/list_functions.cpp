// The entry points of the functions that return a user's room list.
#include "admin/compare_rooms.hpp"
#include "entry/sql_function.hpp"
#include "list/list_helpers.hpp"
#include "list/room_list.hpp"
#include "list/room_list_changes.hpp"
#include "pg/caller_query.hpp"
#include "pg/result_rows.hpp"
#include "pg/sql_call.hpp"

namespace sliding_sync {

namespace {

void require_not_negative(std::int64_t number, const char* name) {
    if (number < 0) {
        throw Error(ERRCODE_INVALID_PARAMETER_VALUE, std::string(name) + " must not be negative", "",
                    "Places are counted from 0, the room at the top of the list.");
    }
}

ListFilters filters_from(FunctionCallInfo call, int first) {
    return {boolean_argument(call, first),       boolean_argument(call, first + 1),
            boolean_argument(call, first + 2),   text_list_argument(call, first + 3),
            text_list_argument(call, first + 4), text_list_argument(call, first + 5),
            text_list_argument(call, first + 6), text_list_argument(call, first + 7),
            text_argument(call, first + 8)};
}

}  // namespace

}  // namespace sliding_sync

SLIDING_SYNC_FUNCTION(sliding_sync_room_list) {
    using namespace sliding_sync;
    return enter_cpp([&]() -> Datum {
        const auto user_id = text_argument(fcinfo, 0);
        const ListOrder order = parse_list_order(text_argument(fcinfo, 10).value_or("recency"));
        const ListRange range{number_argument(fcinfo, 11).value_or(0), number_argument(fcinfo, 12)};
        require_not_negative(range.start, "range_start");
        require_not_negative(range.end.value_or(0), "range_end");
        ListRequest request{user_id.value_or(""), filters_from(fcinfo, 1), text_list_argument(fcinfo, 13)};
        begin_rows(fcinfo);
        const CallerConnection connection;
        const ListTables tables = list_tables(text_argument(fcinfo, 14));
        if (user_id) {
            room_list(fcinfo, tables, request, order, range);
        }
        return Datum{0};
    });
}

SLIDING_SYNC_FUNCTION(sliding_sync_room_list_changes) {
    using namespace sliding_sync;
    return enter_cpp([&]() -> Datum {
        const auto user_id = text_argument(fcinfo, 0);
        const auto since = number_argument(fcinfo, 1);
        if (!since) {
            throw Error(ERRCODE_INVALID_PARAMETER_VALUE, "since must not be NULL", "",
                        "Name the greatest event_stream_ordering of the list that the reader has, or 0.");
        }
        ListRequest request{user_id.value_or(""), filters_from(fcinfo, 2), text_list_argument(fcinfo, 11)};
        begin_rows(fcinfo);
        const CallerConnection connection;
        const ListTables tables = list_tables(text_argument(fcinfo, 12));
        if (user_id) {
            room_list_changes(fcinfo, tables, request, *since);
        }
        return Datum{0};
    });
}

SLIDING_SYNC_FUNCTION(sliding_sync_compare_rooms) {
    using namespace sliding_sync;
    return enter_cpp([&]() -> Datum {
        std::vector<std::string> rooms;
        for (auto& room : text_list_argument(fcinfo, 0).value_or(TextList{})) {
            if (room) {
                rooms.push_back(std::move(*room));
            }
        }
        const AttachedHomeserver homeserver = attached_homeserver(text_argument(fcinfo, 1));
        ResultRows rows(fcinfo);
        compare_rooms(homeserver, rooms, [&](const ComparedColumn& column) {
            rows.add(std::array<std::optional<std::string>, 6>{
                std::string(column.room_id), column.name, column.expected, column.actual,
                column.has_expected_row ? "t" : "f", column.has_actual_row ? "t" : "f"});
        });
        return Datum{0};
    });
}

SLIDING_SYNC_FUNCTION(sliding_sync_lower_case) {
    using namespace sliding_sync;
    return enter_cpp([&] { return lower_case_text(fcinfo); });
}

SLIDING_SYNC_FUNCTION(sliding_sync_known_room_versions) {
    using namespace sliding_sync;
    return enter_cpp([&] { return known_room_versions(fcinfo); });
}
