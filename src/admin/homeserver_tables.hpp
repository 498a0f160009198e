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

/// The same of a homeserver of the kind that is known. Raises 42P01 where a required table is missing, 0A000
/// where the encoding is one that no homeserver has, 42P17 another shape, 42501 another owner.
[[nodiscard]] std::vector<BaseTable> checked_base_tables(const std::string& schema);

/// Raises 42P17 where a base table that is there has another shape.
void check_base_columns(const std::string& schema);

/// Raises 42P17 where a derived table that is there has another shape, 42501 another owner.
void check_derived_tables(const std::string& schema);

/// Raises 42P17 where a derived table that is there has no unique index on its key.
void check_derived_keys(const std::string& schema);

}  // namespace sliding_sync
