#include "server/catalog.hpp"

extern "C" {
#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
}

namespace sliding_sync {

namespace {

std::uint64_t generation = 1;

void note_relation_change(Datum, Oid) {
    ++generation;
}

void note_namespace_change(Datum, int, uint32) {
    ++generation;
}

bool is_table(Oid relation) {
    const char kind = get_rel_relkind(relation);
    return kind == RELKIND_RELATION || kind == RELKIND_PARTITIONED_TABLE;
}

Oid find_table(const char* name, Oid namespace_oid) {
    const Oid relation = get_relname_relid(name, namespace_oid);
    return OidIsValid(relation) && is_table(relation) ? relation : InvalidOid;
}

// A table whose columns a migration has renamed or dropped is not written any more than one that is missing.
bool has_columns(Oid relation, std::span<const char* const> columns) {
    return OidIsValid(relation) && std::all_of(columns.begin(), columns.end(), [&](const char* column) {
               return get_attnum(relation, column) != InvalidAttrNumber;
           });
}

// True when the table has nothing but columns, indexes and foreign keys.
bool is_plain(Oid relation) {
    Relation const table = RelationIdGetRelation(relation);
    if (!RelationIsValid(table)) {
        return false;
    }
    bool plain = table->rd_rules == nullptr && !table->rd_rel->relrowsecurity &&
                 (table->rd_att->constr == nullptr ||
                  (table->rd_att->constr->num_check == 0 && !table->rd_att->constr->has_generated_stored));
    if (plain && table->trigdesc != nullptr) {
        for (int i = 0; i < table->trigdesc->numtriggers; ++i) {
            plain = plain && table->trigdesc->triggers[i].tgisinternal;
        }
    }
    RelationClose(table);
    return plain;
}

}  // namespace

Oid relation_owner(Oid relation) {
    HeapTuple const tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
    if (!HeapTupleIsValid(tuple)) {
        return InvalidOid;
    }
    const Oid owner = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->relowner;
    ReleaseSysCache(tuple);
    return owner;
}

HomeserverSchema read_homeserver_schema(Oid namespace_oid) {
    struct Found {
        const char* name;
        Oid joined_rooms, membership_snapshots, queue, rejections, redactions, ban_redactions, owner;
        const char* unquoted_name;
        bool joined_rooms_plain, joined_rooms_shape, membership_snapshots_shape, recheck;
    };
    const Found found = call_pg([&]() -> Found {
        Found look{};
        char* const name = get_namespace_name(namespace_oid);
        look.name = name != nullptr ? quote_identifier(name) : "";
        look.unquoted_name = name != nullptr ? name : "";
        look.joined_rooms = find_table(joined_rooms_table, namespace_oid);
        look.membership_snapshots = find_table(membership_snapshots_table, namespace_oid);
        look.joined_rooms_shape = has_columns(look.joined_rooms, joined_rooms_column_names);
        look.joined_rooms_plain = look.joined_rooms_shape && is_plain(look.joined_rooms);
        look.membership_snapshots_shape =
            has_columns(look.membership_snapshots, membership_snapshots_column_names);
        look.queue = find_table(recalculate_queue_table, namespace_oid);
        look.rejections = find_table(table_name(BaseTable::rejections), namespace_oid);
        look.redactions = find_table(table_name(BaseTable::redactions), namespace_oid);
        look.ban_redactions = find_table(table_name(BaseTable::room_ban_redactions), namespace_oid);
        look.recheck =
            OidIsValid(look.redactions) && get_attnum(look.redactions, "recheck") != InvalidAttrNumber;
        const Oid derived = OidIsValid(look.joined_rooms) ? look.joined_rooms : look.membership_snapshots;
        look.owner = OidIsValid(derived) ? relation_owner(derived) : InvalidOid;
        return look;
    });
    HomeserverSchema schema;
    schema.namespace_oid = namespace_oid;
    schema.name = found.name;
    schema.unquoted_name = found.unquoted_name;
    schema.joined_rooms_is_plain = found.joined_rooms_plain;
    schema.derived_owner = found.owner;
    schema.has_joined_rooms = found.joined_rooms_shape;
    schema.has_membership_snapshots = found.membership_snapshots_shape;
    schema.has_recalculate_queue = OidIsValid(found.queue);
    schema.has_rejections = OidIsValid(found.rejections);
    schema.has_redaction_recheck = found.recheck;
    schema.has_ban_redactions = OidIsValid(found.ban_redactions);
    return schema;
}

std::uint64_t catalog_generation() noexcept {
    return generation;
}

void watch_catalog() {
    CacheRegisterRelcacheCallback(note_relation_change, Datum{0});
    CacheRegisterSyscacheCallback(NAMESPACEOID, note_namespace_change, Datum{0});
}

AttrNumber find_column(Relation relation, const char* name) noexcept {
    TupleDesc const description = RelationGetDescr(relation);
    for (int i = 0; i < description->natts; ++i) {
        auto* const attribute = TupleDescAttr(description, i);
        if (!attribute->attisdropped && strcmp(NameStr(attribute->attname), name) == 0) {
            return attribute->attnum;
        }
    }
    return InvalidAttrNumber;
}

}  // namespace sliding_sync
