#include "derive/homeserver_schema.hpp"

#include "derive/derived_columns.hpp"
#include "derive/plain_table.hpp"

extern "C" {
#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
}

namespace sliding_sync {

namespace {

Oid find_trusted_table(const char* name, Oid namespace_oid, Oid owner) {
    const Oid relation = find_table(name, namespace_oid);
    const Oid its_owner = relation_owner(relation);
    return OidIsValid(its_owner) && (its_owner == owner || superuser_arg(its_owner)) ? relation : InvalidOid;
}

// Asked of the relation, whose description is loaded at once, and not column by column of the catalog: this
// is paid by the first transaction of each connection.
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

}  // namespace

bool has_encoding_of_homeservers() noexcept {
    return GetDatabaseEncoding() == PG_UTF8 || GetDatabaseEncoding() == PG_SQL_ASCII;
}

namespace {

HomeserverTable look_up(Relation relation) {
    const char* const name = RelationGetRelationName(relation);
    if (strcmp(name, joined_rooms_table) == 0 || strcmp(name, membership_snapshots_table) == 0) {
        return {std::nullopt, true};
    }
    const auto found = std::find_if(base_table_names.begin(), base_table_names.end(),
                                    [&](const char* table) { return strcmp(name, table) == 0; });
    if (found == base_table_names.end() || !has_encoding_of_homeservers()) {
        return {};
    }
    const Oid events_owner =
        relation_owner(find_table(table_name(BaseTable::events), RelationGetNamespace(relation)));
    const Oid owner = relation->rd_rel->relowner;
    if (owner != events_owner && !superuser_arg(owner)) {
        return {};
    }
    return {static_cast<BaseTable>(found - base_table_names.begin()), false};
}

}  // namespace

HomeserverTable homeserver_table(Relation relation) {
    struct Known {
        Oid relation;
        std::uint64_t generation;
        HomeserverTable table;
    };
    static std::array<Known, base_table_count + 2> known{};
    static std::size_t next = 0;
    auto found = std::find_if(known.begin(), known.end(),
                              [&](const Known& one) { return one.relation == RelationGetRelid(relation); });
    if (found == known.end()) {
        found = known.begin() + static_cast<std::ptrdiff_t>(next);
        next = (next + 1) % known.size();
    } else if (found->generation == catalog_generation()) {
        return found->table;
    }
    found->relation = InvalidOid;  // what follows may be left by longjmp
    watch_relation(RelationGetRelid(relation));
    const std::uint64_t generation = catalog_generation();
    found->table = look_up(relation);
    found->generation = generation;
    found->relation = RelationGetRelid(relation);
    return found->table;
}

namespace {

// Statements run with the rights of the owner of `events`. A relation of another role under the name of a
// base table that every homeserver has would run that role's code with them, so where there is one, there is
// no homeserver. (Of the others, those of another role are not read.)
bool are_its_own(Oid namespace_oid, Oid events_owner) {
    return OidIsValid(events_owner) &&
           std::all_of(required_base_tables.begin(), required_base_tables.end(), [&](BaseTable table) {
               const Oid owner = relation_owner(watched_relation(table_name(table), namespace_oid));
               return !OidIsValid(owner) || owner == events_owner || superuser_arg(owner);
           });
}

}  // namespace

HomeserverSchema read_homeserver_schema(Oid namespace_oid) {
    struct Found {
        const char* name;
        const char* unquoted_name;
        SchemaShape shape;
    };
    static constexpr auto room_columns = column_specs<JoinedRooms>();
    static constexpr auto snapshot_columns = column_specs<MembershipSnapshots>();
    const Found found = call_pg([&](PgFrame frame) -> Found {
        Found look{};
        SchemaShape& shape = look.shape;
        char* const name = get_namespace_name(namespace_oid);
        look.name = name != nullptr ? quote_identifier(name) : "";
        look.unquoted_name = name != nullptr ? name : "";
        const Oid joined_rooms = find_table(joined_rooms_table, namespace_oid);
        const Oid snapshots = find_table(membership_snapshots_table, namespace_oid);
        const Oid events_owner = relation_owner(find_table(table_name(BaseTable::events), namespace_oid));
        if (!are_its_own(namespace_oid, events_owner)) {
            return look;
        }
        const auto is_its_own = [&](Oid table) {
            return OidIsValid(table) && relation_owner(table) == events_owner;
        };
        shape.derived_owner = relation_owner(is_its_own(joined_rooms) ? joined_rooms
                                             : is_its_own(snapshots)  ? snapshots
                                                                      : InvalidOid);
        if (is_its_own(joined_rooms)) {
            shape.joined_rooms = shape_of(joined_rooms, room_columns);
        }
        if (relation_owner(snapshots) == shape.derived_owner) {
            shape.membership_snapshots = shape_of(snapshots, snapshot_columns);
        }
        if (shape.joined_rooms == TableShape::known) {
            const std::optional<bool> plain = is_plain_table(frame, joined_rooms);
            shape.joined_rooms_is_plain = plain.value_or(false);
            shape.is_settled = plain.has_value();
        }
        const auto snapshots_defer_nothing = shape.membership_snapshots == TableShape::known
                                                 ? has_no_foreign_triggers(frame, snapshots)
                                                 : std::optional(false);
        shape.may_defer = !shape.joined_rooms_is_plain || !snapshots_defer_nothing.value_or(false);
        shape.is_settled = shape.is_settled && snapshots_defer_nothing.has_value();
        const auto has = [&](const char* table) {
            return find_trusted_table(table, namespace_oid, shape.derived_owner) != InvalidOid;
        };
        shape.has_recalculate_queue = has(recalculate_queue_table);
        shape.has_rejections = has(table_name(BaseTable::rejections));
        shape.has_ban_redactions = has(table_name(BaseTable::room_ban_redactions));
        shape.has_state_groups =
            std::all_of(std::begin(state_group_tables), std::end(state_group_tables), has);
        shape.has_state_changes =
            has(state_changes_table) && OidIsValid(watched_relation(state_changes_index, namespace_oid));
        const Oid redactions = find_table(table_name(BaseTable::redactions), namespace_oid);
        shape.has_redaction_recheck =
            OidIsValid(redactions) && get_attnum(redactions, "recheck") != InvalidAttrNumber;
        return look;
    });
    return {{namespace_oid, found.name, found.unquoted_name}, found.shape};
}

}  // namespace sliding_sync
