// Which tables a schema holds that may be a homeserver's, and whether they are. Inside an open SpiConnection.
#pragma once

#include "derive/homeserver_schema.hpp"

namespace sliding_sync {

struct TableEntry {
    Oid oid = InvalidOid;
    std::string owner;
    bool is_superusers = false;
};

[[nodiscard]] std::optional<TableEntry> find_relation(const std::string& schema, const char* name);

/// The first column of the query's rows.
[[nodiscard]] std::vector<std::string> schemas_of(const std::string& query);

/// Schemas with all tables without which there is no homeserver.
[[nodiscard]] std::vector<std::string> homeserver_schemas();

/// The base tables that are there, in the order in which a homeserver's transaction writes them.
[[nodiscard]] std::vector<BaseTable> present_tables(const std::string& schema);

/// Names of those that are not, although every homeserver has them.
[[nodiscard]] std::string missing_tables(const std::vector<BaseTable>& present);

/// These raise: 0A000 an encoding that no homeserver has, 42P17 another shape, 42501 another owner.
void check_encoding();
void check_base_tables(const std::string& schema, const std::vector<BaseTable>& tables);
void check_column(const std::string& schema, Oid relation, const char* table, const char* column,
                  const char* type);
void check_key(const std::string& schema, Oid relation, const char* table, const std::string& key);
[[noreturn]] void refuse_owner(const std::string& schema, const char* table, const TableEntry& entry,
                               const std::string& owner);

}  // namespace sliding_sync
