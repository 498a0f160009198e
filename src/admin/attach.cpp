#include "admin/attach.hpp"

#include "admin/derived_tables.hpp"
#include "admin/homeserver_tables.hpp"
#include "admin/table_locks.hpp"
#include "admin/trigger_coverage.hpp"
#include "derive/quarantine.hpp"
#include "derive/write_as.hpp"
#include "pg/spi.hpp"
#include "pg/transaction.hpp"
#include "shared/sql_text.hpp"

extern "C" {
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
}

namespace sliding_sync {

namespace {

template <typename Table>
void make_if_missing(const std::string& schema, const std::string& owner) {
    if (find_relation(schema, Table::name)) {
        return;
    }
    run_once(sql_text(create_table_text<Table>(), quoted_identifier(schema)));
    run_once("ALTER TABLE " + quoted_identifier(schema) + "." + Table::name + " OWNER TO " +
             quoted_identifier(owner));
}

// Objects made while an extension is created become its members, and would be dropped with it. These belong
// to the homeserver.
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

void make_derived_tables(const std::string& schema) {
    const OutsideExtension outside;
    const std::string owner = find_relation(schema, table_name(BaseTable::events))->owner;
    make_if_missing<JoinedRooms>(schema, owner);
    make_if_missing<MembershipSnapshots>(schema, owner);
}

enum class TriggerState { missing, not_always, always };

// Of a base table every change, and TRUNCATE; of a derived table every DELETE.
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
    const Rows rows = query_once(sql_text(R"(
        SELECT t.tgenabled %= 'A'
        FROM pg_catalog.pg_trigger t
        WHERE t.tgrelid %= $1::pg_catalog.oid AND t.tgname %= $2 AND t.tgqual IS NULL
            AND t.tgattr::pg_catalog.text %= '' AND t.tgtype %= $3)"),
                                 {INT8OID, TEXTOID, INT8OID},
                                 Arguments().number(relation).text(trigger.name).number(trigger.type));
    if (rows.count == 0) {
        return TriggerState::missing;
    }
    return rows[0][0].boolean() ? TriggerState::always : TriggerState::not_always;
}

bool has_triggers(const std::string& schema, const std::vector<OurTrigger>& triggers) {
    return std::all_of(triggers.begin(), triggers.end(), [&](const OurTrigger& trigger) {
        const auto relation = find_relation(schema, trigger.table);
        return relation && trigger_state(relation->oid, trigger) == TriggerState::always;
    });
}

// As ALTER TRIGGER ... DEPENDS ON EXTENSION does, which would need the strongest lock: DROP EXTENSION then
// takes the trigger along, without CASCADE, and pg_dump writes that clause.
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
        // No WHEN and no column list: both would make columns a dependency, and a homeserver's migration that
        // alters one of them would fail.
        run_once("CREATE OR REPLACE TRIGGER " + quoted_identifier(trigger.name) + " AFTER " + trigger.events +
                 " ON " + relation + " FOR EACH " + trigger.level +
                 " EXECUTE FUNCTION sliding_sync.collect()");
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

// What is known of another homeserver that had the name, or of this one under another name, is not known of
// this one.
void record(const std::string& schema) {
    const Oid events = find_relation(schema, table_name(BaseTable::events))->oid;
    const WriteAs writer(bookkeeper());
    const SpiConnection connection;
    const Rows others = query_once(sql_text(R"(
        DELETE FROM sliding_sync.attachments a
        WHERE (a.schema_name %= $1) %<> (a.events_oid %= $2::pg_catalog.oid)
        RETURNING a.schema_name)"),
                                   {TEXTOID, INT8OID}, Arguments().text(schema).number(events));
    for (std::size_t i = 0; i < others.count; ++i) {
        for (const char* const table :
             {"quarantine", "runs", "trigger_coverage", "bypassed_writes", "corrections"}) {
            if (!OidIsValid(extension_relation(table))) {
                continue;  // the SQL is of a version before
            }
            query_once(
                sql_text(std::string("DELETE FROM sliding_sync.") + table + " x WHERE x.schema_name %= $1"),
                {TEXTOID}, Arguments().text(others[i][0].text()));
        }
    }
    query_once(R"(
        INSERT INTO sliding_sync.attachments (schema_name, events_oid) VALUES ($1, $2::pg_catalog.oid)
        ON CONFLICT (schema_name) DO NOTHING)",
               {TEXTOID, INT8OID}, Arguments().text(schema).number(events));
}

void attach_to(const std::string& schema) {
    const std::vector<BaseTable> tables = checked_base_tables(schema);
    check_derived_tables(schema);
    check_derived_keys(schema);
    const std::vector<OurTrigger> triggers = our_triggers(tables);
    if (!has_triggers(schema, triggers)) {
        std::vector<std::string> locked = qualified(schema, tables);
        for (const char* const table : {joined_rooms_table, membership_snapshots_table}) {
            if (find_relation(schema, table)) {
                locked.push_back(quoted_identifier(schema) + "." + table);
            }
        }
        lock_tables(locked);
        make_derived_tables(schema);
        check_derived_tables(schema);
        check_derived_keys(schema);
        for (const OurTrigger& trigger : triggers) {
            make_trigger(schema, trigger);
        }
    }
    record(schema);
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
    const OwnSettings settings;
    set_local("search_path", safe_search_path);
    const SpiConnection connection;
    if (schema) {
        check_schema(*schema);
        attach_to(*schema);
        return *schema;
    }
    // whoever may create a schema can put tables of these names into it
    std::vector<std::string> found = schemas_of("SELECT h.schema_name FROM sliding_sync.homeservers h");
    if (found.empty()) {
        found = homeserver_schemas();
    }
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

}  // namespace sliding_sync
