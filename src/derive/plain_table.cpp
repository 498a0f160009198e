#include "derive/plain_table.hpp"

#include "pg/versions.hpp"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
}

namespace sliding_sync {

namespace {

// A foreign key of one column, as a homeserver has it.
struct Reference {
    std::string_view column;
    std::string_view table;
    std::string_view referenced;
};
constexpr std::array<Reference, 3> references{{
    {"room_id", "rooms", "room_id"},
    {"event_stream_ordering", "events", "stream_ordering"},
    {"membership_event_id", "events", "event_id"},
}};

constexpr std::array<std::string_view, 2> unique_columns{"room_id", "event_stream_ordering"};

std::string_view column_of(Relation table, AttrNumber number) {
    return number > 0 ? NameStr(TupleDescAttr(RelationGetDescr(table), number - 1)->attname) : "";
}

bool is_of_homeserver(Relation table, const ForeignKeyCacheInfo& key) {
    if (key.nkeys != 1 || get_rel_namespace(key.confrelid) != RelationGetNamespace(table)) {
        return false;
    }
    const char* const referenced_table = get_rel_name(key.confrelid);
    const char* const referenced = get_attname(key.confrelid, key.confkey[0], true);
    return referenced_table != nullptr && referenced != nullptr &&
           std::any_of(references.begin(), references.end(), [&](const Reference& known) {
               return known.column == column_of(table, key.conkey[0]) && known.table == referenced_table &&
                      known.referenced == referenced;
           });
}

bool has_foreign_references(Relation table) {
    bool has_one = false;
    ListCell* cell = nullptr;
    foreach (cell, RelationGetFKeyList(table)) {
        has_one = has_one || !is_of_homeserver(table, *lfirst_node(ForeignKeyCacheInfo, cell));
    }
    return has_one;
}

// Any role may put our function on a table of its own in whatever form; attach() knows one.
bool is_ours(const Trigger& trigger) {
    constexpr int form = TRIGGER_TYPE_ROW | TRIGGER_TYPE_AFTER | TRIGGER_TYPE_DELETE;
    const Oid own_schema = get_namespace_oid("sliding_sync", true);
    return OidIsValid(own_schema) && get_func_namespace(trigger.tgfoid) == own_schema &&
           trigger.tgtype == form && trigger.tgqual == nullptr && trigger.tgnattr == 0;
}

// Other tables' foreign keys to this one, and triggers that are neither of a foreign key nor ours. What is
// deferrable is checked when no subtransaction is open any more.
bool has_foreign_triggers(Relation table) {
    const TriggerDesc* const triggers = table->trigdesc;
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; ++i) {
        const Trigger& trigger = triggers->triggers[i];
        const bool is_known =
            trigger.tgisinternal ? RI_FKey_trigger_type(trigger.tgfoid) == RI_TRIGGER_FK : is_ours(trigger);
        if (!is_known || trigger.tgdeferrable) {
            return true;
        }
    }
    return false;
}

// Expressions, conditions and operator classes of others run code that may fail; a unique index that a
// homeserver does not have may refuse a row.
bool is_foreign(Relation table, Relation index) {
    const Form_pg_index form = index->rd_index;
    for (int i = 0; i < form->indnkeyatts; ++i) {
        if (index->rd_opfamily[i] >= FirstNormalObjectId) {
            return true;
        }
    }
    const std::string_view first = column_of(table, form->indkey.values[0]);
    // asked of the catalog's row: to ask for an expression itself runs what of it can be run
    return !heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, nullptr) ||
           !heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, nullptr) || form->indisexclusion ||
           !form->indimmediate || index->rd_rel->relam != BTREE_AM_OID ||
           (form->indisunique &&
            std::find(unique_columns.begin(), unique_columns.end(), first) == unique_columns.end());
}

// Nothing while somebody has locked one: REINDEX of a table is not waited for by who does not write it.
std::optional<bool> has_foreign_indexes(Relation table) {
    List* const indexes = RelationGetIndexList(table);
    bool has_one = !OidIsValid(table->rd_pkindex);  // there may be several rows of a key
    bool are_at_hand = true;
    ListCell* cell = nullptr;
    foreach (cell, indexes) {
        if (!ConditionalLockRelationOid(lfirst_oid(cell), AccessShareLock)) {
            are_at_hand = false;
            continue;
        }
        Relation const index = index_open(lfirst_oid(cell), NoLock);
        has_one = has_one || is_foreign(table, index);
        index_close(index, AccessShareLock);
    }
    list_free(indexes);
    return has_one || are_at_hand ? std::optional(has_one) : std::nullopt;
}

// Without them the statement of a message would fail, with no subtransaction open.
bool owner_has_rights(Relation table) {
    constexpr AclMode rights = ACL_SELECT | ACL_UPDATE;
    return pg_class_aclmask(RelationGetRelid(table), table->rd_rel->relowner, rights, ACLMASK_ALL) == rights;
}

// What CheckCmdReplicaIdentity() asks at each UPDATE, without the error. A publication says it of tables that
// it contains.
bool may_be_published(Relation table) {
    PublicationDesc publication;
    RelationBuildPublicationDesc(table, &publication);
    return publication.rf_valid_for_update && publication.cols_valid_for_update &&
           versions::generated_columns_may_be_published(publication) &&
           (!publication.pubactions.pubupdate || table->rd_rel->relreplident == REPLICA_IDENTITY_FULL ||
            OidIsValid(RelationGetReplicaIndex(table)));
}

bool has_foreign_constraints(Relation table) {
    const TupleConstr* const constraints = table->rd_att->constr;
    const bool has_one =
        constraints != nullptr && (constraints->num_check > 0 || constraints->has_generated_stored ||
                                   versions::has_virtual_columns(*constraints));
    return has_one || versions::has_unvalidated_not_null(table) || has_foreign_references(table);
}

bool is_without_foreign_triggers(Relation table) {
    const Form_pg_class form = table->rd_rel;
    return form->relkind == RELKIND_RELATION && form->relam == HEAP_TABLE_AM_OID && !form->relispartition &&
           !form->relhassubclass && table->rd_rules == nullptr && !form->relrowsecurity &&
           !has_foreign_triggers(table);
}

// While the table is locked, none of its indexes goes.
std::optional<bool> look_at(Oid relation, std::optional<bool> (*is_so)(Relation table)) {
    if (!ConditionalLockRelationOid(relation, AccessShareLock)) {
        return std::nullopt;
    }
    Relation const table = try_relation_open(relation, NoLock);
    if (table == nullptr) {
        UnlockRelationOid(relation, AccessShareLock);
        return false;
    }
    const std::optional<bool> result = is_so(table);
    relation_close(table, AccessShareLock);
    return result;
}

}  // namespace

std::optional<bool> is_plain_table(PgFrame, Oid relation) {
    return look_at(relation, [](Relation table) -> std::optional<bool> {
        if (!is_without_foreign_triggers(table) || has_foreign_constraints(table) ||
            !may_be_published(table) || !owner_has_rights(table)) {
            return false;
        }
        const auto has_one = has_foreign_indexes(table);
        return has_one ? std::optional(!*has_one) : std::nullopt;
    });
}

std::optional<bool> has_no_foreign_triggers(PgFrame, Oid relation) {
    return look_at(relation,
                   [](Relation table) -> std::optional<bool> { return is_without_foreign_triggers(table); });
}

}  // namespace sliding_sync
