// The homeserver whose rooms are listed, and which of its tables a list can read.
#pragma once

#include "guard/boundary.hpp"
#include "shared/base_tables.hpp"

namespace sliding_sync {

/// Tables that only some homeservers have, or only some filters need, as far as they exist. A table counts if
/// it belongs to the owner of the homeserver's tables or to a superuser: whoever may create tables in the
/// schema could have planted it.
struct ListTables : OptionalTables {
    Oid namespace_oid = InvalidOid;
    std::string schema;  ///< quoted as an identifier
    bool has_ignored_users = false;
    bool has_account_data = false;
    bool has_room_tags = false;
};

/// The homeserver in this schema, or the only attached one, inside an open CallerConnection. Raises 42P01 and
/// 42P09 as sliding_sync.attached_schema() does, and 42P01 where a derived table is missing.
[[nodiscard]] ListTables list_tables(const std::optional<std::string>& target_schema);

/// Raises 42501 with the GRANT that helps where the caller may not read one of these tables, or look into
/// their schema.
void require_select(const ListTables& tables, std::span<const char* const> names);

}  // namespace sliding_sync
