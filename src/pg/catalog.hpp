// Which homeserver tables a schema holds, and where their columns are. Looked up by name and dropped when the
// server says that a table changed, so that a homeserver's migrations find nothing that depends on their columns.
#pragma once

#include "guard/boundary.hpp"

extern "C" {
#include "utils/rel.h"
}

namespace sliding_sync {

/// The homeserver's tables that decide what a derived row is.
enum class BaseTable : std::uint8_t {
    events,
    event_json,
    rejections,
    redactions,
    room_ban_redactions,
    rooms,
    room_memberships,
    current_state_events,
    local_current_membership,
};
inline constexpr std::size_t base_table_count = 9;

inline constexpr std::array<const char*, base_table_count> base_table_names{
    "events",           "event_json",           "rejections",
    "redactions",       "room_ban_redactions",  "rooms",
    "room_memberships", "current_state_events", "local_current_membership"};

[[nodiscard]] constexpr const char* table_name(BaseTable table) noexcept {
    return base_table_names[static_cast<std::size_t>(table)];
}

inline constexpr const char* joined_rooms_table = "sliding_sync_joined_rooms";
inline constexpr const char* membership_snapshots_table = "sliding_sync_membership_snapshots";
inline constexpr const char* recalculate_queue_table = "sliding_sync_joined_rooms_to_recalculate";

/// What a derived table looks like now.
enum class TableShape : std::uint8_t {
    missing,
    known,    ///< all columns are there, and hold what they should
    keyed,    ///< not all, but those of the key: rows can be removed
    unknown,  ///< not even those: only all rows can be removed
};

/// What the schema of one homeserver looks like now.
struct HomeserverSchema {
    Oid namespace_oid = InvalidOid;
    std::string name;  ///< quoted as an identifier
    std::string unquoted_name;
    Oid derived_owner = InvalidOid;  ///< owner of the derived tables
    TableShape joined_rooms = TableShape::missing;
    TableShape membership_snapshots = TableShape::missing;
    // Nothing of its own can make a write fail or change what is written: triggers, rules, checks, policies, expressions.
    bool joined_rooms_is_plain = false;
    bool membership_snapshots_is_plain = false;
    // Tables that an older homeserver does not have. They count only if they belong to the owner of the derived
    // tables or to a superuser: whoever may create tables in the schema could have planted them.
    bool has_recalculate_queue = false;
    bool has_rejections = false;         ///< events.rejection_reason says the same since schema 68
    bool has_redaction_recheck = false;  ///< redactions.recheck, from schema 94
    bool has_ban_redactions = false;     ///< room_ban_redactions, from schema 92
    bool has_state_groups = false;       ///< they may live in another database
    bool has_state_changes = false;  ///< current_state_delta_stream with its index on rooms, from schema 88

    /// A derived table whose keys cannot be named: only all of its rows can be removed.
    [[nodiscard]] bool has_unknown_table() const noexcept {
        return joined_rooms == TableShape::unknown || membership_snapshots == TableShape::unknown;
    }

    /// A derived table of which only the keys can be read.
    [[nodiscard]] bool has_keyed_table() const noexcept {
        return joined_rooms == TableShape::keyed || membership_snapshots == TableShape::keyed;
    }

    friend bool operator==(const HomeserverSchema&, const HomeserverSchema&) = default;
};

/// The owner of a relation, or InvalidOid. C calls only.
[[nodiscard]] Oid relation_owner(Oid relation);

/// Looks the schema up in the catalog; raises PgError only.
[[nodiscard]] HomeserverSchema read_homeserver_schema(Oid namespace_oid);

/// A number that grows whenever any table or schema of the database may have changed shape.
[[nodiscard]] std::uint64_t catalog_generation() noexcept;

/// Registers the invalidation callbacks; once a backend.
void watch_catalog();

/// False where JSON, which is UTF-8, cannot be compared with what else the tables hold.
[[nodiscard]] bool has_encoding_of_homeservers() noexcept;

/// True when the relation is a homeserver's table of that name, and not one that somebody else put our trigger on. Never in
/// a database whose encoding is none of a homeserver's.
[[nodiscard]] bool is_base_table(Relation relation, BaseTable table);

/// What a column must hold to be read as such; anything else reads as if the column were not there.
enum class ColumnKind : std::uint8_t { text, bigint, integer, boolean, key };

struct ColumnSpec {
    const char* name;
    ColumnKind kind;           ///< `key`: text that names what a row concerns
    bool is_optional = false;  ///< older homeservers do not have it
};

/// Attribute numbers by name, remembered for one relation until the catalog changes.
/// InvalidAttrNumber stands for a column that does not exist, or has another type.
template <std::size_t count>
struct ColumnNumbers {
    Oid relation = InvalidOid;
    std::uint64_t generation = 0;
    std::array<AttrNumber, count> numbers{};
    bool has_keys = false;     ///< every key column is there
    bool is_complete = false;  ///< every column is there but optional ones
};

/// The live column of that name, or nullptr.
[[nodiscard]] Form_pg_attribute find_attribute(TupleDesc description, const char* name) noexcept;

/// The attribute number of a live column of that kind, or InvalidAttrNumber.
[[nodiscard]] AttrNumber find_column(Relation relation, const ColumnSpec& column) noexcept;

/// Fills `columns` for `relation` if it is stale. C calls only: usable outside call_pg where no C++ object lives.
template <std::size_t count>
const ColumnNumbers<count>& column_numbers(ColumnNumbers<count>& columns, Relation relation,
                                           const std::array<ColumnSpec, count>& specs) {
    if (columns.relation != RelationGetRelid(relation) || columns.generation != catalog_generation()) {
        columns.has_keys = true;
        columns.is_complete = true;
        for (std::size_t i = 0; i < count; ++i) {
            columns.numbers[i] = find_column(relation, specs[i]);
            const bool is_missing = columns.numbers[i] == InvalidAttrNumber && !specs[i].is_optional;
            columns.is_complete = columns.is_complete && !is_missing;
            columns.has_keys = columns.has_keys && !(is_missing && specs[i].kind == ColumnKind::key);
        }
        columns.relation = RelationGetRelid(relation);
        columns.generation = catalog_generation();
    }
    return columns;
}

}  // namespace sliding_sync
