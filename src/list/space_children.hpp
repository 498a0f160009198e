// The rooms of spaces.
#pragma once

#include "list/list_tables.hpp"

namespace sliding_sync {

/// The rooms that current state of these spaces names as children, of those that the user is joined to;
/// without their own children. Raises 42501. Inside an open CallerConnection.
[[nodiscard]] std::vector<std::string>
space_children(const ListTables& tables, const std::string& user_id,
               std::span<const std::optional<std::string_view>> spaces);

}  // namespace sliding_sync
