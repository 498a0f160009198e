// Sorts the rooms of a list and returns those of one range.
#pragma once

#include "list/listed_rooms.hpp"
#include "list/room_list.hpp"

namespace sliding_sync {

/// Returns the rooms of the list as room_list() does, without a plan. False, and no row, where a query must
/// do it.
[[nodiscard]] bool return_page(FunctionCallInfo call, const ListTables& tables, const ListRequest& request,
                               const ListSets& sets, ListOrder order, const ListRange& range);

}  // namespace sliding_sync
