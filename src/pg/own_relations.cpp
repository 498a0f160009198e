#include "pg/own_relations.hpp"

#include "pg/catalog.hpp"

extern "C" {
#include "miscadmin.h"
#include "nodes/pathnodes.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"
}

namespace sliding_sync {

namespace {

int demands = 0;
std::uint64_t generation = 0;  // of the catalog, when the first one began
ExecutorStart_hook_type next_start = nullptr;
planner_hook_type next_planner = nullptr;

// Children of a table are what its owner has made children. Runs inside the server: plain C in style.
bool is_child(const PlannedStmt& plan, int index) {
    ListCell* cell = nullptr;
    foreach (cell, plan.appendRelations) {
        if (lfirst_node(AppendRelInfo, cell)->child_relid == static_cast<Index>(index)) {
            return true;
        }
    }
    return false;
}

void require_own_relation(Oid relation) {
    const Oid owner = relation_owner(relation);
    if (owner != GetUserId() && !superuser_arg(owner)) {
        const char* const name = get_rel_name(relation);
        // what a name means may have changed; where it has not, a retry would meet the same
        const bool is_stale = generation != catalog_generation();
        raise_pg_error(is_stale ? ERRCODE_T_R_SERIALIZATION_FAILURE : ERRCODE_INSUFFICIENT_PRIVILEGE,
                       psprintf("relation \"%s\" belongs to another role than the homeserver's tables",
                                name != nullptr ? name : ""),
                       "Its code would have run with the rights of their owner.",
                       is_stale ? "Do the transaction again: the tables will be looked up anew." : "");
    }
}

void require_own_relations(const PlannedStmt& plan) {
    int index = 0;
    ListCell* cell = nullptr;
    foreach (cell, plan.rtable) {
        const auto* const entry = lfirst_node(RangeTblEntry, cell);
        ++index;
        if (OidIsValid(entry->relid) && !is_child(plan, index)) {
            require_own_relation(entry->relid);
        }
    }
}

// The planner runs what it finds constant in indexes, constraints and policies.
template <class... Others>
PlannedStmt* look_before_planning(Query* query, Others... others) {
    List* relations = NIL;
    List* others_depended_on = NIL;
    bool has_row_security = false;
    extract_query_dependencies(reinterpret_cast<Node*>(query), &relations, &others_depended_on,
                               &has_row_security);
    ListCell* cell = nullptr;
    foreach (cell, relations) {
        require_own_relation(lfirst_oid(cell));
    }
    planner_hook = next_planner;
    PlannedStmt* const plan = planner(query, others...);
    planner_hook = look_before_planning;
    return plan;
}

// What it runs in turn, such as triggers, is not looked at.
void look_at_next(QueryDesc* query, int flags) {
    ExecutorStart_hook = next_start;
    planner_hook = next_planner;
    require_own_relations(*query->plannedstmt);
    if (next_start != nullptr) {
        next_start(query, flags);
    } else {
        standard_ExecutorStart(query, flags);
    }
}

}  // namespace

OwnRelationsOnly::OwnRelationsOnly() noexcept {
    if (demands++ == 0) {
        generation = catalog_generation();
    }
}

OwnRelationsOnly::~OwnRelationsOnly() {
    --demands;
}

CheckedStatement::CheckedStatement() noexcept
    : outer_start_(ExecutorStart_hook), outer_planner_(planner_hook) {
    if (demands > 0) {
        next_start = outer_start_;
        next_planner = outer_planner_;
        ExecutorStart_hook = look_at_next;
        planner_hook = look_before_planning;
    }
}

// Once it has run, both are as they were, unless code that it ran has set its own.
CheckedStatement::~CheckedStatement() {
    if (ExecutorStart_hook == look_at_next) {
        ExecutorStart_hook = outer_start_;
    }
    if (planner_hook == static_cast<planner_hook_type>(look_before_planning)) {
        planner_hook = outer_planner_;
    }
}

}  // namespace sliding_sync
