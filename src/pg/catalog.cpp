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

void on_namespace_change(Datum, versions::CacheIdentifier, uint32) {
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

Oid find_trusted_table(const char* name, Oid namespace_oid, Oid owner) {
    const Oid relation = find_table(name, namespace_oid);
    const Oid its_owner = relation_owner(relation);
    return OidIsValid(its_owner) && (its_owner == owner || superuser_arg(its_owner)) ? relation : InvalidOid;
}

// What a room's state was after an event; all four or nothing.
constexpr std::array<const char*, 4> state_group_tables{"event_to_state_groups", "state_groups",
                                                        "state_group_edges", "state_groups_state"};

// A value is read by what its column is meant to hold: of another type it would be garbage, or a wild pointer.
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

constexpr std::array<ColumnSpec, 7> joined_rooms_columns{{{"room_id", ColumnKind::key},
                                                          {"event_stream_ordering", ColumnKind::bigint},
                                                          {"bump_stamp", ColumnKind::bigint},
                                                          {"room_type", ColumnKind::text},
                                                          {"room_name", ColumnKind::text},
                                                          {"is_encrypted", ColumnKind::boolean},
                                                          {"tombstone_successor_room_id", ColumnKind::text}}};
constexpr std::array<ColumnSpec, 13> membership_snapshots_columns{
    {{"room_id", ColumnKind::key},
     {"user_id", ColumnKind::key},
     {"sender", ColumnKind::text},
     {"membership_event_id", ColumnKind::text},
     {"membership", ColumnKind::text},
     {"forgotten", ColumnKind::integer},
     {"event_stream_ordering", ColumnKind::bigint},
     {"event_instance_name", ColumnKind::text},
     {"has_known_state", ColumnKind::boolean},
     {"room_type", ColumnKind::text},
     {"room_name", ColumnKind::text},
     {"is_encrypted", ColumnKind::boolean},
     {"tombstone_successor_room_id", ColumnKind::text}}};

// Asked of the relation, whose description is loaded at once, and not column by column of the catalog: this is paid by the
// first transaction of each connection.
TableShape shape_of(Oid oid, std::span<const ColumnSpec> columns) {
    Relation const table = OidIsValid(oid) ? RelationIdGetRelation(oid) : nullptr;
    if (!RelationIsValid(table)) {
        return TableShape::missing;
    }
    TableShape shape = TableShape::known;
    for (const ColumnSpec& column : columns) {
        if (find_column(table, column) == InvalidAttrNumber) {
            shape = column.kind == ColumnKind::key ? TableShape::unknown : std::max(shape, TableShape::keyed);
        }
        if (shape == TableShape::unknown) {
            break;
        }
    }
    RelationClose(table);
    return shape;
}

// Other tables' foreign keys to this one, and triggers that are neither of a foreign key nor ours.
bool has_foreign_triggers(Relation table) {
    const Oid own_schema = get_namespace_oid("sliding_sync", true);
    const TriggerDesc* const triggers = table->trigdesc;
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; ++i) {
        const Trigger& trigger = triggers->triggers[i];
        const bool is_known =
            trigger.tgisinternal ? RI_FKey_trigger_type(trigger.tgfoid) == RI_TRIGGER_FK
                                 : OidIsValid(own_schema) && get_func_namespace(trigger.tgfoid) == own_schema;
        if (!is_known) {
            return true;
        }
    }
    return false;
}

// Expressions and conditions run code that may fail; a unique index that a homeserver does not have may refuse a row.
bool has_foreign_indexes(Relation table) {
    constexpr std::array<std::string_view, 2> unique_columns{"room_id", "event_stream_ordering"};
    bool has_one = false;
    List* const indexes = RelationGetIndexList(table);
    ListCell* cell = nullptr;
    foreach (cell, indexes) {
        Relation const index = index_open(lfirst_oid(cell), AccessShareLock);
        const Form_pg_index form = index->rd_index;
        const AttrNumber first = form->indkey.values[0];
        // asked of the catalog's row: to ask for an expression itself runs what of it can be run
        has_one = has_one || !heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, nullptr) ||
                  !heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, nullptr) ||
                  form->indisexclusion ||
                  (form->indisunique &&
                   std::none_of(unique_columns.begin(), unique_columns.end(), [&](std::string_view column) {
                       return first > 0 &&
                              NameStr(TupleDescAttr(RelationGetDescr(table), first - 1)->attname) == column;
                   }));
        index_close(index, NoLock);
    }
    list_free(indexes);
    return has_one;
}

// True when the table has nothing but columns of the types that it should have, foreign keys and a homeserver's indexes:
// then what a statement of ours writes is what stands there, and no code but the server's has a say.
bool is_plain(Oid relation) {
    Relation const table = RelationIdGetRelation(relation);
    if (!RelationIsValid(table)) {
        return false;
    }
    const TupleConstr* const constraints = table->rd_att->constr;
    bool plain =
        table->rd_rel->relkind == RELKIND_RELATION && !table->rd_rel->relhassubclass &&
        table->rd_rules == nullptr && !table->rd_rel->relrowsecurity &&
        (constraints == nullptr || (constraints->num_check == 0 && !constraints->has_generated_stored)) &&
        !has_foreign_triggers(table) && !has_foreign_indexes(table);
    RelationClose(table);
    return plain;
}

}  // namespace

bool has_encoding_of_homeservers() noexcept {
    return GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII;
}

bool is_base_table(Relation relation, BaseTable table) {
    struct Checked {
        Oid relation;
        std::uint64_t generation;
        bool is_one;
    };
    static std::array<Checked, base_table_count> checked{};
    Checked& last = checked[static_cast<std::size_t>(table)];
    if (last.relation != RelationGetRelid(relation) || last.generation != generation) {
        const Oid owner =
            relation_owner(find_table(table_name(BaseTable::events), RelationGetNamespace(relation)));
        const Oid its_owner = relation->rd_rel->relowner;
        last.is_one = strcmp(RelationGetRelationName(relation), table_name(table)) == 0 &&
                      (its_owner == owner || superuser_arg(its_owner)) && has_encoding_of_homeservers();
        last.relation = RelationGetRelid(relation);
        last.generation = generation;
    }
    return last.is_one;
}

HomeserverSchema read_homeserver_schema(Oid namespace_oid) {
    struct Found {
        const char* name;
        const char* unquoted_name;
        Oid owner;
        TableShape joined_rooms, membership_snapshots;
        bool rooms_are_plain, snapshots_are_plain, queue, rejections, recheck, ban_redactions, state_groups,
            state_changes;
    };
    const Found found = call_pg([&]() -> Found {
        Found look{};
        char* const name = get_namespace_name(namespace_oid);
        look.name = name != nullptr ? quote_identifier(name) : "";
        look.unquoted_name = name != nullptr ? name : "";
        const Oid joined_rooms = find_table(joined_rooms_table, namespace_oid);
        const Oid snapshots = find_table(membership_snapshots_table, namespace_oid);
        const Oid events_owner = relation_owner(find_table(table_name(BaseTable::events), namespace_oid));
        // Nobody writes, and reads the homeserver's tables for it, with the rights of somebody else.
        const auto is_its_own = [&](Oid table) {
            return OidIsValid(table) && (!OidIsValid(events_owner) || relation_owner(table) == events_owner);
        };
        look.owner = relation_owner(is_its_own(joined_rooms) ? joined_rooms
                                    : is_its_own(snapshots)  ? snapshots
                                                             : InvalidOid);
        if (is_its_own(joined_rooms)) {
            look.joined_rooms = shape_of(joined_rooms, joined_rooms_columns);
        }
        if (relation_owner(snapshots) == look.owner) {
            look.membership_snapshots = shape_of(snapshots, membership_snapshots_columns);
        }
        look.rooms_are_plain = look.joined_rooms == TableShape::known && is_plain(joined_rooms);
        look.snapshots_are_plain = look.membership_snapshots == TableShape::known && is_plain(snapshots);
        look.queue = find_trusted_table(recalculate_queue_table, namespace_oid, look.owner) != InvalidOid;
        look.rejections =
            find_trusted_table(table_name(BaseTable::rejections), namespace_oid, look.owner) != InvalidOid;
        look.ban_redactions = find_trusted_table(table_name(BaseTable::room_ban_redactions), namespace_oid,
                                                 look.owner) != InvalidOid;
        look.state_groups = true;
        for (const char* const table : state_group_tables) {
            look.state_groups =
                look.state_groups && find_trusted_table(table, namespace_oid, look.owner) != InvalidOid;
        }
        look.state_changes =
            find_trusted_table("current_state_delta_stream", namespace_oid, look.owner) != InvalidOid &&
            OidIsValid(get_relname_relid("current_state_delta_stream_room_idx", namespace_oid));
        const Oid redactions = find_table(table_name(BaseTable::redactions), namespace_oid);
        look.recheck = OidIsValid(redactions) && get_attnum(redactions, "recheck") != InvalidAttrNumber;
        return look;
    });
    HomeserverSchema schema;
    schema.namespace_oid = namespace_oid;
    schema.name = found.name;
    schema.unquoted_name = found.unquoted_name;
    schema.derived_owner = found.owner;
    schema.joined_rooms = found.joined_rooms;
    schema.membership_snapshots = found.membership_snapshots;
    schema.joined_rooms_is_plain = found.rooms_are_plain;
    schema.membership_snapshots_is_plain = found.snapshots_are_plain;
    schema.has_recalculate_queue = found.queue;
    schema.has_rejections = found.rejections;
    schema.has_redaction_recheck = found.recheck;
    schema.has_ban_redactions = found.ban_redactions;
    schema.has_state_groups = found.state_groups;
    schema.has_state_changes = found.state_changes;
    return schema;
}

std::uint64_t catalog_generation() noexcept {
    return generation;
}

void watch_catalog() {
    CacheRegisterRelcacheCallback(on_relation_change, Datum{0});
    CacheRegisterSyscacheCallback(NAMESPACEOID, on_namespace_change, Datum{0});
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
