#include "pg/own_relations.hpp"

#include "pg/catalog.hpp"

extern "C" {
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/pathnodes.h"
#include "optimizer/optimizer.h"
#include "optimizer/planner.h"
#include "utils/lsyscache.h"
}

namespace sliding_sync {

namespace {

int demands = 0;
std::uint64_t generation = 0;  // of the catalog, when the first one began

// What the hooks were before ours.
ExecutorStart_hook_type next_start = nullptr;
planner_hook_type next_planner = nullptr;

void set_hooks();
void unset_hooks();

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

// The planner runs what it finds constant in indexes, constraints and policies: code that may lead to
// statements of ours in turn, or load a library with hooks.
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
    unset_hooks();
    PlannedStmt* const plan = planner(query, others...);
    set_hooks();
    return plan;
}

// What it runs in turn, such as triggers, is not looked at.
void look_at_next(QueryDesc* query, int flags) {
    unset_hooks();
    require_own_relations(*query->plannedstmt);
    if (ExecutorStart_hook != nullptr) {
        ExecutorStart_hook(query, flags);
    } else {
        standard_ExecutorStart(query, flags);
    }
}

void set_hooks() {
    next_start = ExecutorStart_hook;
    next_planner = planner_hook;
    ExecutorStart_hook = look_at_next;
    planner_hook = look_before_planning;
}

// Unless code that has run meanwhile has set its own.
void unset_hooks() {
    if (ExecutorStart_hook == look_at_next) {
        ExecutorStart_hook = next_start;
    }
    if (planner_hook == static_cast<planner_hook_type>(look_before_planning)) {
        planner_hook = next_planner;
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

CheckedStatement::CheckedStatement() noexcept {
    if (demands > 0) {
        set_hooks();
    }
}

CheckedStatement::~CheckedStatement() {
    unset_hooks();
}

}  // namespace sliding_sync
