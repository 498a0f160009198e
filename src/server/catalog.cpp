#include "server/catalog.hpp"

extern "C" {
#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
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

Oid find_trusted_table(const char* name, Oid namespace_oid, Oid owner) {
    const Oid relation = find_table(name, namespace_oid);
    const Oid its_owner = relation_owner(relation);
    return OidIsValid(its_owner) && (its_owner == owner || superuser_arg(its_owner)) ? relation : InvalidOid;
}

// What a room's state was after an event; all four or nothing.
constexpr std::array<const char*, 4> state_group_tables{"event_to_state_groups", "state_groups",
                                                        "state_group_edges", "state_groups_state"};

// The first `keys` columns are those of the key. Asked of the relation, whose description is loaded at once, and not column
// by column of the catalog: this is paid by the first transaction of each connection.
TableShape shape_of(Oid oid, std::span<const char* const> columns, std::size_t keys) {
    Relation const table = OidIsValid(oid) ? RelationIdGetRelation(oid) : nullptr;
    if (!RelationIsValid(table)) {
        return TableShape::missing;
    }
    const auto exists = [&](const char* column) {
        return find_attribute(RelationGetDescr(table), column) != nullptr;
    };
    const auto key = columns.first(keys);
    TableShape shape = TableShape::unknown;
    if (std::all_of(columns.begin(), columns.end(), exists)) {
        shape = TableShape::known;
    } else if (std::all_of(key.begin(), key.end(), exists)) {
        shape = TableShape::keyed;
    }
    RelationClose(table);
    return shape;
}

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

// True when an UPDATE of the table of rooms finds nothing but columns, indexes and foreign keys, and its numbers are what
// they should be.
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
            const Trigger& trigger = table->trigdesc->triggers[i];
            plain = plain && (trigger.tgisinternal || !TRIGGER_FOR_UPDATE(trigger.tgtype));
        }
    }
    for (const char* const number : {"event_stream_ordering", "bump_stamp"}) {
        plain = plain && find_column(table, {number, ColumnKind::bigint}) != InvalidAttrNumber;
    }
    RelationClose(table);
    return plain;
}

}  // namespace

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
                      (its_owner == owner || superuser_arg(its_owner));
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
        bool plain, queue, rejections, recheck, ban_redactions, state_groups, state_changes;
    };
    const Found found = call_pg([&]() -> Found {
        Found look{};
        char* const name = get_namespace_name(namespace_oid);
        look.name = name != nullptr ? quote_identifier(name) : "";
        look.unquoted_name = name != nullptr ? name : "";
        const Oid joined_rooms = find_table(joined_rooms_table, namespace_oid);
        const Oid snapshots = find_table(membership_snapshots_table, namespace_oid);
        look.owner = relation_owner(OidIsValid(joined_rooms) ? joined_rooms : snapshots);
        look.joined_rooms = shape_of(joined_rooms, joined_rooms_column_names, 1);
        if (relation_owner(snapshots) == look.owner) {
            look.membership_snapshots = shape_of(snapshots, membership_snapshots_column_names, 2);
        }
        look.plain = look.joined_rooms == TableShape::known && is_plain(joined_rooms);
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
    schema.joined_rooms_is_plain = found.plain;
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
    CacheRegisterRelcacheCallback(note_relation_change, Datum{0});
    CacheRegisterSyscacheCallback(NAMESPACEOID, note_namespace_change, Datum{0});
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
