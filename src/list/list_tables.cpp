#include "list/list_tables.hpp"

#include "derive/homeserver_schema.hpp"
#include "pg/caller_query.hpp"
#include "pg/versions.hpp"

#include <cstring>

extern "C" {
#include "access/genam.h"
#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
}

namespace sliding_sync {

namespace {

/// The table if it is the homeserver's, else InvalidOid.
Oid find_table(PgFrame, Oid namespace_oid, Oid owner, const char* name) {
    const Oid table = watched_relation(name, namespace_oid);
    if (table == InvalidOid) {
        return InvalidOid;
    }
    const char kind = get_rel_relkind(table);
    const Oid table_owner = relation_owner(table);
    const bool is_theirs = table_owner == owner || superuser_arg(table_owner);
    return is_theirs && (kind == RELKIND_RELATION || kind == RELKIND_PARTITIONED_TABLE) ? table : InvalidOid;
}

struct Found {
    Oid namespace_oid;
    Oid owner;
};

/// The homeserver that a row of sliding_sync.attachments is about, as long as it is still there.
Found homeserver_of(PgFrame, HeapTuple row, TupleDesc columns, const char* wanted_schema) {
    const auto* const schema = find_attribute(columns, "schema_name");
    const auto* const events = find_attribute(columns, "events_oid");
    if (schema == nullptr || events == nullptr || schema->atttypid != TEXTOID || events->atttypid != OIDOID) {
        return {InvalidOid, InvalidOid};
    }
    bool has_no_name = false;
    bool has_no_table = false;
    // not heap_getattr(), whose inline code calls what only the newest minor versions have
    const Datum name_datum = SPI_getbinval(row, columns, schema->attnum, &has_no_name);
    const Oid table = DatumGetObjectId(SPI_getbinval(row, columns, events->attnum, &has_no_table));
    if (has_no_name || has_no_table) {
        return {InvalidOid, InvalidOid};
    }
    const char* const name = TextDatumGetCString(name_datum);
    const char* const table_name = get_rel_name(table);
    const Oid namespace_oid = get_rel_namespace(table);
    const char* const namespace_name = get_namespace_name(namespace_oid);
    const bool is_it = table_name != nullptr && std::strcmp(table_name, "events") == 0 &&
                       namespace_name != nullptr && std::strcmp(namespace_name, name) == 0 &&
                       (wanted_schema == nullptr || std::strcmp(wanted_schema, name) == 0);
    return is_it ? Found{namespace_oid, relation_owner(table)} : Found{InvalidOid, InvalidOid};
}

// What the view sliding_sync.homeservers shows to everybody, read without a plan: making one takes a new
// connection as long as a short list.
Found find_homeserver(const std::optional<std::string>& target_schema) {
    const char* const expected = target_schema ? target_schema->c_str() : nullptr;
    struct Result {
        Found homeserver;
        int count;
    };
    const Result result = call_pg([&](PgFrame frame) -> Result {
        Result so_far{{InvalidOid, InvalidOid}, 0};
        const Oid schema = get_namespace_oid("sliding_sync", true);
        const Oid table = OidIsValid(schema) ? get_relname_relid("attachments", schema) : InvalidOid;
        Relation const attached = OidIsValid(table) ? try_relation_open(table, AccessShareLock) : nullptr;
        if (!RelationIsValid(attached)) {
            return so_far;
        }
        // asked after the lock: a view in its place has no rows that could be read here
        if (attached->rd_rel->relkind != RELKIND_RELATION) {
            relation_close(attached, AccessShareLock);
            return so_far;
        }
        SysScanDesc const scan =
            systable_beginscan(attached, InvalidOid, false, GetActiveSnapshot(), 0, nullptr);
        while (HeapTuple const row = systable_getnext(scan)) {
            const Found found = homeserver_of(frame, row, RelationGetDescr(attached), expected);
            if (OidIsValid(found.namespace_oid)) {
                so_far = {found, so_far.count + 1};
            }
        }
        systable_endscan(scan);
        relation_close(attached, AccessShareLock);
        return so_far;
    });
    if (result.count != 1) {
        // says what is the matter
        static_cast<void>(caller_query("SELECT sliding_sync.attached_schema($1)", {TEXTOID})
                              ->run(Arguments().optional_text(target_schema)));
        throw Error(ERRCODE_UNDEFINED_TABLE, "the homeserver's schema was detached meanwhile");
    }
    return result.homeserver;
}

ListTables read_tables(const Found& found) {
    ListTables tables;
    tables.namespace_oid = found.namespace_oid;
    const std::string name =
        call_pg([&]() -> const char* { return get_namespace_name(found.namespace_oid); });
    tables.schema = quoted_identifier(name);
    const auto has = [&](const char* table) {
        return call_pg([&](PgFrame frame) {
            return find_table(frame, found.namespace_oid, found.owner, table) != InvalidOid;
        });
    };
    for (const char* const table :
         {joined_rooms_table, membership_snapshots_table, table_name(BaseTable::rooms)}) {
        if (!has(table)) {
            throw Error(ERRCODE_UNDEFINED_TABLE,
                        "schema \"" + name + "\" lacks a table \"" + table + "\" of its own",
                        "It exists in an attached schema, and belongs to the owner of its table of events.",
                        "SELECT code, detail, remedy FROM sliding_sync.health; tells more.");
        }
    }
    tables.has_ignored_users = has("ignored_users");
    tables.has_account_data = has("account_data");
    tables.has_room_tags = has("room_tags");
    tables.has_rejections = has(table_name(BaseTable::rejections));
    tables.has_ban_redactions = has(table_name(BaseTable::room_ban_redactions));
    tables.has_redaction_recheck = call_pg([&](PgFrame frame) {
        const Oid redactions =
            find_table(frame, found.namespace_oid, found.owner, table_name(BaseTable::redactions));
        return redactions != InvalidOid && get_attnum(redactions, "recheck") != InvalidAttrNumber;
    });
    return tables;
}

}  // namespace

ListTables list_tables(const std::optional<std::string>& target_schema) {
    struct Remembered {
        std::uint64_t generation;
        Oid owner;
        ListTables tables;
    };
    static std::unordered_map<Oid, Remembered> remembered;
    const Found found = find_homeserver(target_schema);
    const auto known = remembered.find(found.namespace_oid);
    if (known != remembered.end() && known->second.generation == catalog_generation() &&
        known->second.owner == found.owner) {
        return known->second.tables;
    }
    if (known == remembered.end()) {
        forget_gone_schemas(remembered);
    }
    const std::uint64_t generation = catalog_generation();
    ListTables tables = read_tables(found);
    remembered.insert_or_assign(found.namespace_oid, Remembered{generation, found.owner, tables});
    return tables;
}

void require_select(const ListTables& tables, std::span<const char* const> names) {
    struct Refused {
        const char* what;
        const char* name;
    };
    const Refused refused = call_pg([&]() -> Refused {
        const Oid namespace_oid = tables.namespace_oid;
        if (!versions::may_use_schema(namespace_oid, GetUserId())) {
            return {"schema", get_namespace_name(namespace_oid)};
        }
        for (const char* const name : names) {
            const Oid table = get_relname_relid(name, namespace_oid);
            // some columns may be enough: the server knows
            if (table != InvalidOid && pg_class_aclcheck(table, GetUserId(), ACL_SELECT) != ACLCHECK_OK &&
                pg_attribute_aclcheck_all(table, GetUserId(), ACL_SELECT, ACLMASK_ANY) != ACLCHECK_OK) {
                return {"table", name};
            }
        }
        return {nullptr, nullptr};
    });
    if (refused.what == nullptr) {
        return;
    }
    const std::string role =
        quoted_identifier(call_pg([]() -> const char* { return GetUserNameFromId(GetUserId(), false); }));
    const bool is_schema = refused.what == std::string_view("schema");
    throw Error(ERRCODE_INSUFFICIENT_PRIVILEGE,
                std::string("permission denied for ") + refused.what + " " + refused.name,
                "The list is read with the rights of whoever calls the function.",
                is_schema ? "GRANT USAGE ON SCHEMA " + tables.schema + " TO " + role + ";"
                          : "GRANT SELECT ON " + tables.schema + "." + refused.name + " TO " + role + ";");
}

}  // namespace sliding_sync
