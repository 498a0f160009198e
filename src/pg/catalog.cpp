#include "pg/catalog.hpp"

#include "pg/versions.hpp"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_database.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
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
std::uint64_t relations_generation = 1;

// What somebody has looked up since the last change that counted. Plain memory: the server calls back in the
// middle of anything.
template <typename T>
class WatchList {
public:
    void add(T value) noexcept {
        if (contains(value)) {
            return;
        }
        if (count_ == values_.size()) {
            is_full_ = true;
        } else {
            values_[count_++] = value;
        }
    }
    [[nodiscard]] bool contains(T value) const noexcept {
        const auto known = std::span(values_).first(count_);
        return is_full_ || std::find(known.begin(), known.end(), value) != known.end();
    }
    void clear() noexcept {
        count_ = 0;
        is_full_ = false;
    }

private:
    std::array<T, 256> values_{};  // a homeserver needs a sixth of it
    std::size_t count_ = 0;
    bool is_full_ = false;  // then everything counts
};

WatchList<Oid> watched_relations;
// By the hash that the server tells.
WatchList<uint32> watched_schemas;
WatchList<uint32> watched_names;  // with their schema

// Whoever remembers something finds that it is stale, and looks it up again.
void changed() noexcept {
    ++generation;
    watched_relations.clear();
    watched_schemas.clear();
    watched_names.clear();
}

void on_relation_change(Datum, Oid relation) {
    ++relations_generation;
    if (!OidIsValid(relation) || watched_relations.contains(relation)) {
        changed();
    }
}

// A relation was created, dropped, renamed or moved.
void on_relation_name_change(Datum, versions::CacheIdentifier, uint32 hash) {
    if (hash == 0 || watched_names.contains(hash)) {
        changed();
    }
}

void on_schema_change(Datum, versions::CacheIdentifier, uint32 hash) {
    ++relations_generation;
    if (hash == 0 || watched_schemas.contains(hash)) {
        changed();
    }
}

// Tables of superusers count as a homeserver's.
void on_role_change(Datum, versions::CacheIdentifier, uint32) {
    ++relations_generation;
    changed();
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

Oid watched_relation(const char* name, Oid namespace_oid) {
    watched_schemas.add(GetSysCacheHashValue1(NAMESPACEOID, ObjectIdGetDatum(namespace_oid)));
    watched_names.add(
        GetSysCacheHashValue2(RELNAMENSP, CStringGetDatum(name), ObjectIdGetDatum(namespace_oid)));
    const Oid relation = get_relname_relid(name, namespace_oid);
    watch_relation(relation);
    return relation;
}

void watch_relation(Oid relation) noexcept {
    if (OidIsValid(relation)) {
        watched_relations.add(relation);
    }
}

Oid find_table(const char* name, Oid namespace_oid) {
    const Oid relation = watched_relation(name, namespace_oid);
    return OidIsValid(relation) && is_table(relation) ? relation : InvalidOid;
}

bool schema_exists(Oid namespace_oid) {
    return SearchSysCacheExists1(NAMESPACEOID, ObjectIdGetDatum(namespace_oid));
}

double estimated_rows(Oid relation) {
    HeapTuple const row = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
    if (!HeapTupleIsValid(row)) {
        return -1;
    }
    const auto tuples = static_cast<double>(reinterpret_cast<Form_pg_class>(GETSTRUCT(row))->reltuples);
    ReleaseSysCache(row);
    return tuples;
}

// Asked of the catalog, which is the same in all majors: pg_locale.h needs headers of ICU from 17 on.
bool is_order_of_bytes(PgFrame, Oid collation) {
    static bool is_asked = false;  // and not what a static is made of: an error would leave that half made
    static bool is_database_of_c = false;
    if (collation != DEFAULT_COLLATION_OID) {
        return collation == C_COLLATION_OID;
    }
    if (is_asked) {
        return is_database_of_c;
    }
    HeapTuple const database = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
    if (HeapTupleIsValid(database)) {
        bool is_null = false;
        const Datum name = SysCacheGetAttr(DATABASEOID, database, Anum_pg_database_datcollate, &is_null);
        const auto* const form = reinterpret_cast<Form_pg_database>(GETSTRUCT(database));
        is_database_of_c = form->datlocprovider == COLLPROVIDER_LIBC && !is_null &&
                           strcmp(TextDatumGetCString(name), "C") == 0;
        ReleaseSysCache(database);
    }
    is_asked = true;
    return is_database_of_c;
}

std::uint64_t catalog_generation() noexcept {
    return generation;
}

void hear_of_changes() {
    call_pg([] { AcceptInvalidationMessages(); });
}

std::uint64_t relation_generation() noexcept {
    return relations_generation;
}

void watch_catalog() {
    CacheRegisterRelcacheCallback(on_relation_change, Datum{0});
    CacheRegisterSyscacheCallback(RELNAMENSP, on_relation_name_change, Datum{0});
    CacheRegisterSyscacheCallback(NAMESPACEOID, on_schema_change, Datum{0});
    CacheRegisterSyscacheCallback(AUTHOID, on_role_change, Datum{0});
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
