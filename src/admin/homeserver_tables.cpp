#include "admin/homeserver_tables.hpp"

#include "derive/derived_columns.hpp"
#include "pg/spi.hpp"
#include "shared/sql_text.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
}

namespace sliding_sync {

namespace {

struct RequiredColumn {
    BaseTable table;
    const char* name;
    const char* type;
};

// The columns that name keys or decide rows; a table without them is of another shape. The same ones are in
// sliding_sync.missing_columns: a view works without this library, and this library with an older install
// script. tests/test_newer_homeserver.py tries both with each of them.
constexpr std::array<RequiredColumn, 36> required_columns{{
    {BaseTable::events, "event_id", "text"},
    {BaseTable::events, "room_id", "text"},
    {BaseTable::events, "type", "text"},
    {BaseTable::events, "sender", "text"},
    {BaseTable::events, "state_key", "text"},
    {BaseTable::events, "outlier", "boolean"},
    {BaseTable::events, "instance_name", "text"},
    {BaseTable::events, "stream_ordering", "bigint"},
    {BaseTable::events, "topological_ordering", "bigint"},
    {BaseTable::events, "rejection_reason", "text"},
    {BaseTable::event_json, "event_id", "text"},
    {BaseTable::event_json, "room_id", "text"},
    {BaseTable::event_json, "json", "text"},
    {BaseTable::event_json, "internal_metadata", "text"},
    {BaseTable::rejections, "event_id", "text"},
    {BaseTable::redactions, "event_id", "text"},
    {BaseTable::redactions, "redacts", "text"},
    {BaseTable::room_ban_redactions, "room_id", "text"},
    {BaseTable::room_ban_redactions, "user_id", "text"},
    {BaseTable::room_ban_redactions, "redacting_event_id", "text"},
    {BaseTable::room_ban_redactions, "redact_end_ordering", "bigint"},
    {BaseTable::rooms, "room_id", "text"},
    {BaseTable::room_memberships, "event_id", "text"},
    {BaseTable::room_memberships, "room_id", "text"},
    {BaseTable::room_memberships, "user_id", "text"},
    {BaseTable::room_memberships, "sender", "text"},
    {BaseTable::room_memberships, "membership", "text"},
    {BaseTable::room_memberships, "forgotten", "integer"},
    {BaseTable::current_state_events, "event_id", "text"},
    {BaseTable::current_state_events, "room_id", "text"},
    {BaseTable::current_state_events, "type", "text"},
    {BaseTable::current_state_events, "state_key", "text"},
    {BaseTable::local_current_membership, "room_id", "text"},
    {BaseTable::local_current_membership, "user_id", "text"},
    {BaseTable::local_current_membership, "event_id", "text"},
    {BaseTable::local_current_membership, "membership", "text"},
}};

// What code such a table holds gains nothing by the rights of the homeserver.
bool is_trusted(const TableEntry& entry, const std::string& owner) {
    return entry.owner == owner || entry.is_superusers;
}

// In the order in which a homeserver's transaction writes them: locks taken in another order would end in
// deadlocks.
constexpr std::array<BaseTable, base_table_count> write_order{BaseTable::event_json,
                                                              BaseTable::events,
                                                              BaseTable::redactions,
                                                              BaseTable::rejections,
                                                              BaseTable::room_memberships,
                                                              BaseTable::current_state_events,
                                                              BaseTable::local_current_membership,
                                                              BaseTable::room_ban_redactions,
                                                              BaseTable::rooms};

bool is_required(BaseTable table) {
    return std::find(required_base_tables.begin(), required_base_tables.end(), table) !=
           required_base_tables.end();
}

struct ColumnType {
    bool is_wanted = false;
    std::string name;  ///< empty: there is no such column
};

ColumnType column_type(Oid relation, const char* column, const char* expected) {
    const Rows rows =
        query_once(sql_text(R"(
            SELECT a.atttypid %= pg_catalog.to_regtype($3)
                OR ($3 %= 'text' AND a.atttypid %= 'pg_catalog.varchar'::pg_catalog.regtype),
                pg_catalog.format_type(a.atttypid, a.atttypmod)
            FROM pg_catalog.pg_attribute a
            WHERE a.attrelid %= $1::pg_catalog.oid AND NOT a.attisdropped AND a.attname %= $2)"),
                   {INT8OID, TEXTOID, TEXTOID}, Arguments().number(relation).text(column).text(expected));
    return rows.count == 0 ? ColumnType() : ColumnType{rows[0][0].boolean(), std::string(rows[0][1].text())};
}

}  // namespace

std::optional<TableEntry> find_relation(const std::string& schema, const char* name) {
    const Rows rows = query_once(sql_text(R"(
            SELECT c.oid, r.rolname, r.rolsuper
            FROM pg_catalog.pg_class c
            JOIN pg_catalog.pg_namespace n ON n.oid %= c.relnamespace
            JOIN pg_catalog.pg_roles r ON r.oid %= c.relowner
            WHERE n.nspname %= $1 AND c.relname %= $2 AND c.relkind %= 'r')"),
                                 {TEXTOID, TEXTOID}, Arguments().text(schema).text(name));
    if (rows.count == 0) {
        return std::nullopt;
    }
    return TableEntry{static_cast<Oid>(rows[0][0].number), std::string(rows[0][1].text()),
                      rows[0][2].boolean()};
}

std::vector<std::string> schemas_of(const std::string& query) {
    const Rows rows = query_once(query);
    std::vector<std::string> schemas;
    for (std::size_t i = 0; i < rows.count; ++i) {
        schemas.emplace_back(rows[i][0].text());
    }
    return schemas;
}

// Of the tables that an older homeserver does not have, those of another role are left out.
std::vector<BaseTable> present_tables(const std::string& schema) {
    const auto events = find_relation(schema, table_name(BaseTable::events));
    std::vector<BaseTable> tables;
    for (const BaseTable table : write_order) {
        const auto entry = find_relation(schema, table_name(table));
        if (entry && (is_required(table) || !events || is_trusted(*entry, events->owner))) {
            tables.push_back(table);
        }
    }
    return tables;
}

// Schemas with all required tables.
std::vector<std::string> homeserver_schemas() {
    std::string names;
    for (const BaseTable table : required_base_tables) {
        names += (names.empty() ? "'" : ",'") + std::string(table_name(table)) + "'";
    }
    return schemas_of(sql_text(R"(
        SELECT n.nspname
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid %= c.relnamespace
        WHERE c.relkind %= 'r' AND c.relname %= ANY (ARRAY[)" +
                               names + R"(]::pg_catalog.name[]) AND c.relpersistence %= 'p'
        GROUP BY n.nspname
        HAVING pg_catalog.count(*) %= )" +
                               std::to_string(required_base_tables.size()) + " ORDER BY n.nspname"));
}

namespace {

std::string missing_tables(const std::vector<BaseTable>& present) {
    std::string missing;
    for (const BaseTable table : required_base_tables) {
        if (std::find(present.begin(), present.end(), table) == present.end()) {
            missing += (missing.empty() ? "" : ", ") + std::string(table_name(table));
        }
    }
    return missing;
}

void check_column(const std::string& schema, Oid relation, const char* table, const char* column,
                  const char* type) {
    const ColumnType found = column_type(relation, column, type);
    if (found.is_wanted) {
        return;
    }
    throw Error(ERRCODE_INVALID_OBJECT_DEFINITION,
                "table \"" + schema + "." + table + "\" does not have the shape of a homeserver's",
                found.name.empty() ? std::string("Column \"") + column + "\" of type " + type + " is missing."
                                   : std::string("Column \"") + column + "\" has type " + found.name +
                                         " instead of " + type + ".",
                "sliding_sync knows the tables of Synapse's database schemas 86 to 94.");
}

void refuse_owner(const std::string& schema, const char* table, const TableEntry& entry,
                  const std::string& owner) {
    throw Error(ERRCODE_INSUFFICIENT_PRIVILEGE,
                "table \"" + schema + "." + table +
                    "\" does not belong to the owner of the homeserver's tables",
                "It belongs to \"" + entry.owner + "\", and \"" + schema + ".events\" to \"" + owner + "\".",
                "If the table is right, give it to the homeserver: ALTER TABLE ... OWNER TO " +
                    quoted_identifier(owner) + ".");
}

// What is not JSON is compared with what is, and written beside it: both must be in one encoding, and JSON is
// in UTF-8.
void check_encoding() {
    if (!has_encoding_of_homeservers()) {
        throw Error(ERRCODE_FEATURE_NOT_SUPPORTED,
                    "the database has an encoding that no homeserver works with",
                    std::string("It is ") + GetDatabaseEncodingName() + "; events are written in UTF-8.",
                    "Move the homeserver to a database that was created with ENCODING 'UTF8'.");
    }
}

void check_key(const std::string& schema, Oid relation, const char* table, const std::string& key) {
    const Rows rows = query_once(sql_text(R"(
        SELECT
        FROM pg_catalog.pg_index i
        WHERE i.indrelid %= $1::pg_catalog.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
            AND (SELECT pg_catalog.string_agg(a.attname, ',' ORDER BY a.attname)
                FROM pg_catalog.pg_attribute a
                WHERE a.attrelid %= i.indrelid AND a.attnum %= ANY (i.indkey)) %= $2)"),
                                 {INT8OID, TEXTOID}, Arguments().number(relation).text(key));
    if (rows.count == 0) {
        throw Error(ERRCODE_INVALID_OBJECT_DEFINITION,
                    "table \"" + schema + "." + table + "\" does not have the shape of a homeserver's",
                    "There is no unique index on (" + key + ").",
                    "Synapse makes it as the table's primary key.");
    }
}

template <typename Table>
void check_derived_table(const std::string& schema, const std::string& owner) {
    const auto relation = find_relation(schema, Table::name);
    if (!relation) {
        return;
    }
    if (relation->owner != owner) {
        refuse_owner(schema, Table::name, *relation, owner);
    }
    for_each_column<Table>([&](const auto& column, const SqlType& type) {
        check_column(schema, relation->oid, Table::name, column.name, type.name);
    });
}

// Our writes name the key columns in ON CONFLICT, which needs a unique index on just these.
template <typename Table>
void check_derived_key(const std::string& schema) {
    std::string key;
    for_each_column<Table>([&](const auto& column, const SqlType&) {
        key += column.role == ColumnRole::key ? (key.empty() ? "" : ",") + std::string(column.name) : "";
    });
    if (const auto relation = find_relation(schema, Table::name)) {
        check_key(schema, relation->oid, Table::name, key);
    }
}

}  // namespace

std::vector<BaseTable> checked_base_tables(const std::string& schema) {
    std::vector<BaseTable> tables = present_tables(schema);
    if (const std::string missing = missing_tables(tables); !missing.empty()) {
        throw Error(ERRCODE_UNDEFINED_TABLE, "schema \"" + schema + "\" holds no homeserver",
                    "Missing tables: " + missing + ".",
                    "Name the schema that holds the homeserver's tables: SELECT sliding_sync.attach('...').");
    }
    check_encoding();
    // the owner of one would run code of the owner of another
    const std::string owner = find_relation(schema, table_name(BaseTable::events))->owner;
    for (const BaseTable table : tables) {
        const auto entry = find_relation(schema, table_name(table));
        if (!is_trusted(*entry, owner)) {
            refuse_owner(schema, table_name(table), *entry, owner);
        }
    }
    check_base_columns(schema);
    return tables;
}

void check_base_columns(const std::string& schema) {
    const std::vector<BaseTable> tables = present_tables(schema);
    for (const RequiredColumn& column : required_columns) {
        if (std::find(tables.begin(), tables.end(), column.table) != tables.end()) {
            const auto relation = find_relation(schema, table_name(column.table));
            check_column(schema, relation->oid, table_name(column.table), column.name, column.type);
        }
    }
}

void check_derived_tables(const std::string& schema) {
    const std::string owner = find_relation(schema, table_name(BaseTable::events))->owner;
    check_derived_table<JoinedRooms>(schema, owner);
    check_derived_table<MembershipSnapshots>(schema, owner);
}

void check_derived_keys(const std::string& schema) {
    check_derived_key<JoinedRooms>(schema);
    check_derived_key<MembershipSnapshots>(schema);
}

}  // namespace sliding_sync
