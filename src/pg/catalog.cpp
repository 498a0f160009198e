#include "pg/catalog.hpp"

#include "pg/versions.hpp"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
}

namespace sliding_sync {

Oid relation_owner(Oid relation) {
    if (!OidIsValid(relation)) {
        return InvalidOid;
    }
    HeapTuple const tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
    if (!HeapTupleIsValid(tuple)) {
        return InvalidOid;
    }
    const Oid owner = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->relowner;
    ReleaseSysCache(tuple);
    return owner;
}

namespace {

std::uint64_t generation = 1;

void on_relation_change(Datum, Oid) {
    ++generation;
}

// Of a schema, or of a role: tables of superusers count as a homeserver's.
void on_name_change(Datum, versions::CacheIdentifier, uint32) {
    ++generation;
}

bool is_table(Oid relation) {
    const char kind = get_rel_relkind(relation);
    return kind == RELKIND_RELATION || kind == RELKIND_PARTITIONED_TABLE;
}

// A value is read by what its column is meant to hold: of another type it would be garbage, or a wild
// pointer.
bool is_of_kind(Oid type, ColumnKind kind) noexcept {
    switch (kind) {
    case ColumnKind::text:
    case ColumnKind::key:
        return type == TEXTOID || type == VARCHAROID;
    case ColumnKind::bigint:
        return type == INT8OID;
    case ColumnKind::integer:
        return type == INT4OID;
    case ColumnKind::boolean:
        return type == BOOLOID;
    }
    return false;
}

}  // namespace

Oid find_table(const char* name, Oid namespace_oid) {
    const Oid relation = get_relname_relid(name, namespace_oid);
    return OidIsValid(relation) && is_table(relation) ? relation : InvalidOid;
}

std::uint64_t catalog_generation() noexcept {
    return generation;
}

void watch_catalog() {
    CacheRegisterRelcacheCallback(on_relation_change, Datum{0});
    CacheRegisterSyscacheCallback(NAMESPACEOID, on_name_change, Datum{0});
    CacheRegisterSyscacheCallback(AUTHOID, on_name_change, Datum{0});
}

Form_pg_attribute find_attribute(TupleDesc description, const char* name) noexcept {
    for (int i = 0; i < description->natts; ++i) {
        auto* const attribute = TupleDescAttr(description, i);
        if (!attribute->attisdropped && strcmp(NameStr(attribute->attname), name) == 0) {
            return attribute;
        }
    }
    return nullptr;
}

AttrNumber find_column(Relation relation, const ColumnSpec& column) noexcept {
    auto* const attribute = find_attribute(RelationGetDescr(relation), column.name);
    return attribute != nullptr && is_of_kind(attribute->atttypid, column.kind) ? attribute->attnum
                                                                                : InvalidAttrNumber;
}

}  // namespace sliding_sync
