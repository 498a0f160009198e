#include "list/list_tables.hpp"

#include "server/caller_query.hpp"
#include "server/catalog.hpp"
#include "server/versions.hpp"

extern "C" {
#include "catalog/pg_class.h"
#include "catalog/pg_type_d.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
}

namespace sliding_sync {

namespace {

/// The table if it is the homeserver's, else InvalidOid. C calls only.
Oid find_table(Oid namespace_oid, Oid owner, const char* name) {
    const Oid table = get_relname_relid(name, namespace_oid);
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
    std::string name;
};

Found find_homeserver(const std::optional<std::string>& target_schema) {
    const Rows rows = caller_query("SELECT h.namespace_oid, h.owner_oid, h.schema_name FROM "
                                   "sliding_sync.homeservers h WHERE $1 IS NULL OR h.schema_name "
                                   "OPERATOR(pg_catalog.=) $1 LIMIT 2",
                                   {TEXTOID})
                          ->run(Arguments().optional_text(target_schema));
    if (rows.count != 1) {
        // says what is the matter
        static_cast<void>(caller_query("SELECT sliding_sync.attached_schema($1)", {TEXTOID})
                              ->run(Arguments().optional_text(target_schema)));
        throw Error(ERRCODE_UNDEFINED_TABLE, "the homeserver's schema was detached meanwhile");
    }
    return {static_cast<Oid>(rows[0][0].number), static_cast<Oid>(rows[0][1].number),
            std::string(rows[0][2].text())};
}

ListTables read_tables(const Found& found) {
    ListTables tables;
    tables.namespace_oid = found.namespace_oid;
    tables.schema = quoted_identifier(found.name);
    const auto has = [&](const char* name) {
        return call_pg([&] { return find_table(found.namespace_oid, found.owner, name) != InvalidOid; });
    };
    for (const char* const name : {joined_rooms_table, membership_snapshots_table, table_name(BaseTable::rooms)}) {
        if (!has(name)) {
            throw Error(ERRCODE_UNDEFINED_TABLE, "schema \"" + found.name + "\" lacks a table \"" + name + "\" of its own",
                        "It exists in an attached schema, and belongs to the owner of its table of events.",
                        "SELECT code, detail, cure FROM sliding_sync.health; tells more.");
        }
    }
    tables.has_ignored_users = has("ignored_users");
    tables.has_account_data = has("account_data");
    tables.has_room_tags = has("room_tags");
    tables.has_rejections = has(table_name(BaseTable::rejections));
    tables.has_ban_redactions = has(table_name(BaseTable::room_ban_redactions));
    tables.has_redaction_recheck = call_pg([&] {
        const Oid redactions = find_table(found.namespace_oid, found.owner, table_name(BaseTable::redactions));
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
    const std::string role = quoted_identifier(call_pg([]() -> const char* { return GetUserNameFromId(GetUserId(), false); }));
    const bool is_schema = refused.what == std::string_view("schema");
    throw Error(ERRCODE_INSUFFICIENT_PRIVILEGE,
                std::string("permission denied for ") + refused.what + " " + refused.name,
                "The list is read with the rights of whoever calls the function.",
                is_schema ? "GRANT USAGE ON SCHEMA " + tables.schema + " TO " + role + ";"
                          : "GRANT SELECT ON " + tables.schema + "." + refused.name + " TO " + role + ";");
}

}  // namespace sliding_sync
