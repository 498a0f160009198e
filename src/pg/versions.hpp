// What PostgreSQL's majors (15 to 19) call differently, under one name each. As the server's own functions:
// to be called inside call_pg.
#pragma once

#include "guard/postgres.hpp"

extern "C" {
#include "access/genam.h"
#include "access/tableam.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_publication.h"
#include "funcapi.h"
#include "optimizer/pathnode.h"
#include "optimizer/plancat.h"
#include "utils/acl.h"
#include "utils/inval.h"
#include "utils/rel.h"
}

namespace sliding_sync::versions {

#if PG_VERSION_NUM >= 190000
using CacheIdentifier = SysCacheIdentifier;
#else
using CacheIdentifier = int;
#endif

inline IndexScanDesc begin_index_scan(Relation table, Relation index, Snapshot snapshot, std::size_t keys) {
    const int count = static_cast<int>(keys);
#if PG_VERSION_NUM >= 190000
    return index_beginscan(table, index, snapshot, nullptr, count, 0, SO_NONE);
#elif PG_VERSION_NUM >= 180000
    return index_beginscan(table, index, snapshot, nullptr, count, 0);
#else
    return index_beginscan(table, index, snapshot, count, 0);
#endif
}

inline void begin_result_rows(FunctionCallInfo call) {
#if PG_VERSION_NUM >= 160000
    InitMaterializedSRF(call, 0);
#else
    SetSingleFuncCall(call, 0);
#endif
}

/// The same with the columns that the caller expects, who looks no declaration up.
inline void begin_expected_rows(FunctionCallInfo call) {
#if PG_VERSION_NUM >= 160000
    InitMaterializedSRF(call, MAT_SRF_USE_EXPECTED_DESC);
#else
    SetSingleFuncCall(call, SRF_SINGLE_USE_EXPECTED);
#endif
}

/// May the role look names up in this schema?
inline bool may_use_schema(Oid namespace_oid, Oid role) {
#if PG_VERSION_NUM >= 160000
    return object_aclcheck(NamespaceRelationId, namespace_oid, role, ACL_USAGE) == ACLCHECK_OK;
#else
    return pg_namespace_aclcheck(namespace_oid, role, ACL_USAGE) == ACLCHECK_OK;
#endif
}

/// The planner calls it with what it knows of a relation, a RelOptInfo*, somewhere among its arguments.
#if PG_VERSION_NUM >= 190000
using RelationHook = build_simple_rel_hook_type;
inline RelationHook& relation_hook = build_simple_rel_hook;
#else
using RelationHook = get_relation_info_hook_type;
inline RelationHook& relation_hook = get_relation_info_hook;
#endif

/// From 18 on a publication can be one that refuses an UPDATE for a generated column in the replica identity.
inline bool generated_columns_may_be_published([[maybe_unused]] const PublicationDesc& publication) {
#if PG_VERSION_NUM >= 180000
    return publication.gencols_valid_for_update;
#else
    return true;
#endif
}

/// From 18 on a column can be computed at each reading.
inline bool has_virtual_columns([[maybe_unused]] const TupleConstr& constraints) {
#if PG_VERSION_NUM >= 180000
    return constraints.has_generated_virtual;
#else
    return false;
#endif
}

/// From 18 on NOT NULL can be NOT VALID: it refuses an UPDATE of a row that it does not hold for.
inline bool has_unvalidated_not_null([[maybe_unused]] Relation table) {
#if PG_VERSION_NUM >= 180000
    const TupleDesc columns = RelationGetDescr(table);
    for (int i = 0; i < columns->natts; ++i) {
        if (TupleDescCompactAttr(columns, i)->attnullability == ATTNULLABLE_INVALID) {
            return true;
        }
    }
#endif
    return false;
}

}  // namespace sliding_sync::versions
