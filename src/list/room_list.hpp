// sliding_sync.room_list(): the rooms of a user, filtered and sorted.
#pragma once

#include "list/list_request.hpp"

namespace sliding_sync {

struct ListRange {
    std::int64_t start = 0;           ///< place of the first room
    std::optional<std::int64_t> end;  ///< place of the last one; nothing: all that follow
};

/// 'recency', 'bump' or 'name'; raises 22023 for anything else.
[[nodiscard]] ListOrder parse_list_order(const std::string& text);

/// Returns the rooms as the set of rows of `call`.
void room_list(FunctionCallInfo call, const ListTables& tables, const ListRequest& request, ListOrder order,
               const ListRange& range);

}  // namespace sliding_sync
