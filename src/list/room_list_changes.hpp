// sliding_sync.room_list_changes(): what changed in a user's list since a position of the stream.
#pragma once

#include "list/list_request.hpp"

namespace sliding_sync {

/// Returns the rooms that entered, changed or left, as the set of rows of `call`. Costs what the changes
/// cost, and not the list.
void room_list_changes(FunctionCallInfo call, const ListTables& tables, const ListRequest& request,
                       std::int64_t since);

}  // namespace sliding_sync
