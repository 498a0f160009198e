#include "admin/attach.hpp"

#include "admin/derived_tables.hpp"
#include "admin/table_locks.hpp"
#include "derive/sql_text.hpp"
#include "server/catalog.hpp"
#include "server/spi.hpp"

extern "C" {
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_trigger.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
}

namespace sliding_sync {

namespace {

// Without these there is no homeserver; the others may be missing in older schemas.
constexpr std::array<BaseTable, 7> required_tables{BaseTable::events,
                                                   BaseTable::event_json,
                                                   BaseTable::redactions,
                                                   BaseTable::rooms,
                                                   BaseTable::room_memberships,
                                                   BaseTable::current_state_events,
                                                   BaseTable::local_current_membership};

struct RequiredColumn {
    BaseTable table;
    const char* name;
    const char* type;
};

// The columns that name keys or decide rows; a table without them is of another shape.
constexpr std::array<RequiredColumn, 25> required_columns{{
    {BaseTable::events, "event_id", "text"},
    {BaseTable::events, "room_id", "text"},
    {BaseTable::events, "type", "text"},
    {BaseTable::events, "sender", "text"},
    {BaseTable::events, "state_key", "text"},
    {BaseTable::events, "outlier", "boolean"},
    {BaseTable::events, "instance_name", "text"},
    {BaseTable::events, "stream_ordering", "bigint"},
    {BaseTable::events, "rejection_reason", "text"},
    {BaseTable::event_json, "event_id", "text"},
    {BaseTable::event_json, "room_id", "text"},
    {BaseTable::event_json, "json", "text"},
    {BaseTable::event_json, "internal_metadata", "text"},
    {BaseTable::redactions, "event_id", "text"},
    {BaseTable::redactions, "redacts", "text"},
    {BaseTable::rooms, "room_id", "text"},
    {BaseTable::room_memberships, "event_id", "text"},
    {BaseTable::room_memberships, "forgotten", "integer"},
    {BaseTable::current_state_events, "event_id", "text"},
    {BaseTable::current_state_events, "room_id", "text"},
    {BaseTable::current_state_events, "type", "text"},
    {BaseTable::current_state_events, "state_key", "text"},
    {BaseTable::local_current_membership, "room_id", "text"},
    {BaseTable::local_current_membership, "user_id", "text"},
    {BaseTable::local_current_membership, "event_id", "text"},
}};

struct TableEntry {
    Oid oid = InvalidOid;
    std::string owner;
};

std::optional<TableEntry> find_relation(const std::string& schema, const char* name) {
    const Rows rows =
        query_once("SELECT c.oid, r.rolname FROM pg_catalog.pg_class c "
                   "JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace "
                   "JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) c.relowner "
                   "WHERE n.nspname OPERATOR(pg_catalog.=) " +
                   quoted_literal(schema) + " AND c.relname OPERATOR(pg_catalog.=) " + quoted_literal(name) +
                   " AND c.relkind OPERATOR(pg_catalog.=) 'r'");
    if (rows.count == 0) {
        return std::nullopt;
    }
    return TableEntry{static_cast<Oid>(rows[0][0].number), std::string(rows[0][1].text())};
}

// In the order in which a homeserver's transaction writes them: locks taken in another order would end in deadlocks.
constexpr std::array<BaseTable, base_table_count> write_order{BaseTable::event_json,
                                                              BaseTable::events,
                                                              BaseTable::redactions,
                                                              BaseTable::rejections,
                                                              BaseTable::room_memberships,
                                                              BaseTable::current_state_events,
                                                              BaseTable::local_current_membership,
                                                              BaseTable::room_ban_redactions,
                                                              BaseTable::rooms};

std::vector<BaseTable> present_tables(const std::string& schema) {
    std::vector<BaseTable> tables;
    for (const BaseTable table : write_order) {
        if (find_relation(schema, table_name(table))) {
            tables.push_back(table);
        }
    }
    return tables;
}

// The strongest lock waits for readers too, and a homeserver's transaction begins by locking its room (H23). Asked for
// there first, it keeps new writers waiting before they hold anything that it has to wait for in turn.
std::vector<BaseTable> rooms_first(std::vector<BaseTable> tables) {
    std::stable_partition(tables.begin(), tables.end(),
                          [](BaseTable table) { return table == BaseTable::rooms; });
    return tables;
}

std::string missing_tables(const std::vector<BaseTable>& present) {
    std::string missing;
    for (const BaseTable table : required_tables) {
        if (std::find(present.begin(), present.end(), table) == present.end()) {
            missing += (missing.empty() ? "" : ", ") + std::string(table_name(table));
        }
    }
    return missing;
}

// Schemas with all required tables.
std::vector<std::string> homeserver_schemas() {
    std::string names;
    for (const BaseTable table : required_tables) {
        names += (names.empty() ? "'" : ",'") + std::string(table_name(table)) + "'";
    }
    const Rows rows = query_once(
        "SELECT n.nspname FROM pg_catalog.pg_class c "
        "JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace "
        "WHERE c.relkind OPERATOR(pg_catalog.=) 'r' AND c.relname OPERATOR(pg_catalog.=) ANY (ARRAY[" +
        names +
        "]::pg_catalog.name[]) AND c.relpersistence OPERATOR(pg_catalog.=) 'p' GROUP BY n.nspname "
        "HAVING pg_catalog.count(*) OPERATOR(pg_catalog.=) " +
        std::to_string(required_tables.size()) + " ORDER BY n.nspname");
    std::vector<std::string> schemas;
    for (std::size_t i = 0; i < rows.count; ++i) {
        schemas.emplace_back(rows[i][0].text());
    }
    return schemas;
}

std::string column_type(Oid relation, const char* column) {
    const Rows rows =
        query_once("SELECT pg_catalog.format_type(a.atttypid, a.atttypmod) FROM pg_catalog.pg_attribute a "
                   "WHERE a.attrelid OPERATOR(pg_catalog.=) " +
                   std::to_string(relation) +
                   " AND NOT a.attisdropped AND a.attname OPERATOR(pg_catalog.=) " + quoted_literal(column));
    return rows.count == 0 ? std::string() : std::string(rows[0][0].text());
}

void check_column(const std::string& schema, Oid relation, const char* table, const char* column,
                  const char* type) {
    const std::string found = column_type(relation, column);
    if (found == type) {
        return;
    }
    throw Error(ERRCODE_INVALID_OBJECT_DEFINITION,
                "table \"" + schema + "." + table + "\" does not have the shape of a homeserver's",
                found.empty() ? std::string("Column \"") + column + "\" of type " + type + " is missing."
                              : std::string("Column \"") + column + "\" has type " + found + " instead of " +
                                    type + ".",
                "sliding_sync knows the tables of Synapse's database schemas 86 to 94.");
}

void check_base_tables(const std::string& schema) {
    for (const RequiredColumn& column : required_columns) {
        const auto relation = find_relation(schema, table_name(column.table));
        check_column(schema, relation->oid, table_name(column.table), column.name, column.type);
    }
}

enum class Mode { check, make };

// Our writes name the key columns in ON CONFLICT, which needs a unique index on just these.
void check_key(const std::string& schema, Oid relation, const char* table, const std::string& key) {
    const Rows rows = query_once(
        "SELECT FROM pg_catalog.pg_index i WHERE i.indrelid OPERATOR(pg_catalog.=) " +
        std::to_string(relation) +
        " AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND "
        "(SELECT pg_catalog.string_agg(a.attname, ',' ORDER BY a.attname) FROM pg_catalog.pg_attribute a "
        "WHERE a.attrelid OPERATOR(pg_catalog.=) i.indrelid AND a.attnum OPERATOR(pg_catalog.=) ANY "
        "(i.indkey)) "
        "OPERATOR(pg_catalog.=) " +
        quoted_literal(key));
    if (rows.count == 0) {
        throw Error(ERRCODE_INVALID_OBJECT_DEFINITION,
                    "table \"" + schema + "." + table + "\" does not have the shape of a homeserver's",
                    "There is no unique index on (" + key + ").",
                    "Synapse makes it as the table's primary key.");
    }
}

template <std::size_t count>
void check_or_make(const std::string& schema, const std::string& owner, const char* table,
                   const char* definition, const std::array<ColumnDefinition, count>& columns,
                   const std::string& key, Mode mode) {
    const auto relation = find_relation(schema, table);
    if (!relation && mode == Mode::check) {
        return;
    }
    if (!relation) {
        run_once(sql_text(definition, quoted_identifier(schema)));
        run_once("ALTER TABLE " + quoted_identifier(schema) + "." + table + " OWNER TO " +
                 quoted_identifier(owner));
        return;
    }
    if (relation->owner != owner) {
        throw Error(
            ERRCODE_INSUFFICIENT_PRIVILEGE,
            "table \"" + schema + "." + table + "\" does not belong to the owner of the homeserver's tables",
            "It belongs to \"" + relation->owner + "\", and \"" + schema + ".events\" to \"" + owner + "\".",
            "If the table is right, give it to the homeserver: ALTER TABLE ... OWNER TO " +
                quoted_identifier(owner) + ".");
    }
    for (const ColumnDefinition& column : columns) {
        check_column(schema, relation->oid, table, column.name, column.type);
    }
    check_key(schema, relation->oid, table, key);
}

// Objects made while an extension is created become its members, and would be dropped with it. These belong to the
// homeserver.
class OutsideExtension {
public:
    OutsideExtension() noexcept : creating_(creating_extension) {
        creating_extension = false;
    }
    ~OutsideExtension() {
        creating_extension = creating_;
    }
    OutsideExtension(const OutsideExtension&) = delete;
    OutsideExtension& operator=(const OutsideExtension&) = delete;

private:
    bool creating_;
};

// Refuses derived tables that are not the homeserver's own; makes missing ones if asked to.
void make_derived_tables(const std::string& schema, Mode mode) {
    const OutsideExtension outside;
    const std::string owner = find_relation(schema, table_name(BaseTable::events))->owner;
    check_or_make(schema, owner, joined_rooms_table, create_joined_rooms, joined_rooms_columns, "room_id",
                  mode);
    check_or_make(schema, owner, membership_snapshots_table, create_membership_snapshots,
                  membership_snapshots_columns, "room_id,user_id", mode);
}

enum class TriggerState { missing, not_always, always };

// Of a base table every change, and TRUNCATE; of a derived table what somebody deletes.
struct OurTrigger {
    const char* table;
    const char* name;
    const char* events;
    const char* level;
    int type;  ///< as pg_trigger.tgtype has it
};

std::vector<OurTrigger> our_triggers(const std::vector<BaseTable>& tables) {
    std::vector<OurTrigger> triggers;
    for (const BaseTable table : tables) {
        triggers.push_back(
            {table_name(table), trigger_name, "INSERT OR UPDATE OR DELETE", "ROW",
             TRIGGER_TYPE_ROW | TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE});
        triggers.push_back(
            {table_name(table), truncate_trigger_name, "TRUNCATE", "STATEMENT", TRIGGER_TYPE_TRUNCATE});
    }
    for (const char* const table : {joined_rooms_table, membership_snapshots_table}) {
        triggers.push_back({table, trigger_name, "DELETE", "ROW", TRIGGER_TYPE_ROW | TRIGGER_TYPE_DELETE});
    }
    return triggers;
}

// One that does not fire for every change is as good as none.
TriggerState trigger_state(Oid relation, const OurTrigger& trigger) {
    const Rows rows = query_once(
        "SELECT t.tgenabled OPERATOR(pg_catalog.=) 'A' FROM pg_catalog.pg_trigger t WHERE t.tgrelid "
        "OPERATOR(pg_catalog.=) " +
        std::to_string(relation) + " AND t.tgname OPERATOR(pg_catalog.=) " + quoted_literal(trigger.name) +
        " AND t.tgqual IS NULL AND t.tgattr::pg_catalog.text OPERATOR(pg_catalog.=) '' AND t.tgtype "
        "OPERATOR(pg_catalog.=) " +
        std::to_string(trigger.type));
    if (rows.count == 0) {
        return TriggerState::missing;
    }
    return rows[0][0].boolean() ? TriggerState::always : TriggerState::not_always;
}

bool is_attached(const std::string& schema, const std::vector<OurTrigger>& triggers) {
    return std::all_of(triggers.begin(), triggers.end(), [&](const OurTrigger& trigger) {
        const auto relation = find_relation(schema, trigger.table);
        return relation && trigger_state(relation->oid, trigger) == TriggerState::always;
    });
}

// As ALTER TRIGGER ... DEPENDS ON EXTENSION does, which would need the strongest lock: DROP EXTENSION then takes the
// trigger along, without CASCADE, and pg_dump writes that clause.
void depend_on_extension(Oid relation, const char* trigger) {
    call_pg([&] {
        ObjectAddress dependent;
        ObjectAddress extension;
        ObjectAddressSet(dependent, TriggerRelationId, get_trigger_oid(relation, trigger, false));
        ObjectAddressSet(extension, ExtensionRelationId, get_extension_oid("sliding_sync", false));
        recordDependencyOn(&dependent, &extension, DEPENDENCY_AUTO_EXTENSION);
        CommandCounterIncrement();
    });
}

void make_trigger(const std::string& schema, const OurTrigger& trigger) {
    const std::string relation = quoted_identifier(schema) + "." + trigger.table;
    const Oid oid = find_relation(schema, trigger.table)->oid;
    const TriggerState state = trigger_state(oid, trigger);
    if (state == TriggerState::missing) {
        // No WHEN and no column list: both would make columns a dependency, and a homeserver's migration that alters
        // one of them would fail.
        run_once("CREATE OR REPLACE TRIGGER " + quoted_identifier(trigger.name) + " AFTER " + trigger.events +
                 " ON " + relation + " FOR EACH " + trigger.level +
                 " EXECUTE FUNCTION sliding_sync.collect_" + trigger.table + "()");
        depend_on_extension(oid, trigger.name);
    }
    if (state != TriggerState::always) {
        // Not to act in the sessions of a replica, but to know of them.
        run_once("ALTER TABLE " + relation + " ENABLE ALWAYS TRIGGER " + quoted_identifier(trigger.name));
    }
}

std::vector<std::string> qualified(const std::string& schema, const std::vector<BaseTable>& tables) {
    std::vector<std::string> names;
    for (const BaseTable table : tables) {
        names.push_back(quoted_identifier(schema) + "." + table_name(table));
    }
    return names;
}

void attach_to(const std::string& schema) {
    const std::vector<BaseTable> tables = present_tables(schema);
    if (const std::string missing = missing_tables(tables); !missing.empty()) {
        throw Error(ERRCODE_UNDEFINED_TABLE, "schema \"" + schema + "\" holds no homeserver",
                    "Missing tables: " + missing + ".",
                    "Name the schema that holds the homeserver's tables: SELECT sliding_sync.attach('...').");
    }
    check_base_tables(schema);
    make_derived_tables(schema, Mode::check);
    const std::vector<OurTrigger> triggers = our_triggers(tables);
    if (is_attached(schema, triggers)) {
        return;
    }
    std::vector<std::string> locked = qualified(schema, tables);
    for (const char* const table : {joined_rooms_table, membership_snapshots_table}) {
        if (find_relation(schema, table)) {
            locked.push_back(quoted_identifier(schema) + "." + table);
        }
    }
    lock_tables(locked, TableLock::share_row_exclusive);
    make_derived_tables(schema, Mode::make);
    for (const OurTrigger& trigger : triggers) {
        make_trigger(schema, trigger);
    }
}

void check_schema(const std::string& schema) {
    if (!OidIsValid(call_pg([&] { return get_namespace_oid(schema.c_str(), true); }))) {
        throw Error(ERRCODE_UNDEFINED_SCHEMA, "schema \"" + schema + "\" does not exist");
    }
}

std::string quoted_list(const std::vector<std::string>& names) {
    std::string list;
    for (const std::string& name : names) {
        list += (list.empty() ? "" : ", ") + quoted_identifier(name);
    }
    return list;
}

}  // namespace

std::string attach(const std::optional<std::string>& schema) {
    const SpiConnection connection;
    if (schema) {
        check_schema(*schema);
        attach_to(*schema);
        return *schema;
    }
    const std::vector<std::string> found = homeserver_schemas();
    if (found.empty()) {
        throw Error(
            ERRCODE_UNDEFINED_TABLE, "no homeserver was found in this database",
            "No schema holds all of the tables that name rooms, events, memberships and current state.",
            "Connect to the homeserver's database, or start the homeserver once so that it makes its "
            "tables.");
    }
    if (found.size() > 1) {
        throw Error(ERRCODE_AMBIGUOUS_ALIAS, "more than one homeserver was found in this database",
                    "Schemas: " + quoted_list(found) + ".", "Name one: SELECT sliding_sync.attach('...').");
    }
    attach_to(found.front());
    return found.front();
}

void attach_at_creation() {
    const SpiConnection connection;
    const std::vector<std::string> found = homeserver_schemas();
    if (found.size() == 1) {
        attach_to(found.front());
        return;
    }
    const std::string reason = found.empty() ? "sliding_sync found no homeserver's tables to attach to"
                                             : "sliding_sync found more than one homeserver to attach to";
    const std::string hint =
        found.empty() ? std::string("When the homeserver has made its tables, call sliding_sync.attach().")
                      : "Call sliding_sync.attach(schema) with one of: " + quoted_list(found) + ".";
    // CREATE EXTENSION hides everything below WARNING.
    call_pg([&] { ereport(WARNING, errmsg("%s", reason.c_str()), errhint("%s", hint.c_str())); });
}

std::int64_t detach(const std::optional<std::string>& schema) {
    const SpiConnection connection;
    if (schema) {
        check_schema(*schema);
    }
    const Rows rows = query_once(
        "SELECT n.nspname, c.relname, t.tgname FROM pg_catalog.pg_trigger t "
        "JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.tgrelid "
        "JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace "
        "WHERE t.tgname OPERATOR(pg_catalog.=) ANY (ARRAY[" +
        quoted_literal(trigger_name) + "," + quoted_literal(truncate_trigger_name) + "]::pg_catalog.name[])" +
        (schema ? " AND n.nspname OPERATOR(pg_catalog.=) " + quoted_literal(*schema) : std::string()) +
        " ORDER BY n.nspname, c.relname, t.tgname");
    std::vector<std::string> schemas;
    for (std::size_t i = 0; i < rows.count; ++i) {
        const std::string name(rows[i][0].text());
        if (schemas.empty() || schemas.back() != name) {
            lock_tables(qualified(name, rooms_first(present_tables(name))), TableLock::access_exclusive);
            schemas.push_back(name);
        }
        run_once("DROP TRIGGER " + quoted_identifier(rows[i][2].text()) + " ON " + quoted_identifier(name) +
                 "." + quoted_identifier(rows[i][1].text()));
    }
    return static_cast<std::int64_t>(schemas.size());
}

}  // namespace sliding_sync
