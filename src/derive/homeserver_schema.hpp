// Which tables of a homeserver a schema holds, and what they look like now.
#pragma once

#include "pg/catalog.hpp"
#include "shared/base_tables.hpp"
#include "shared/derived_columns.hpp"

namespace sliding_sync {

inline constexpr const char* recalculate_queue_table = "sliding_sync_joined_rooms_to_recalculate";

/// What a derived table looks like now.
enum class TableShape : std::uint8_t {
    missing,
    known,    ///< all columns are there, and hold what they should
    keyed,    ///< not all, but those of the key: rows can be removed
    unknown,  ///< not even those: only all rows can be removed
};

/// What the tables of a schema look like now.
struct SchemaShape : OptionalTables {
    Oid derived_owner = InvalidOid;  ///< owner of the derived tables
    TableShape joined_rooms = TableShape::missing;
    TableShape membership_snapshots = TableShape::missing;
    // Nothing of its own can make a write fail or change what is written: triggers, rules, checks, policies,
    // expressions. (Of the snapshots, Homeserver tells: a message is none of theirs.)
    bool joined_rooms_is_plain = false;
    bool may_defer = false;              ///< triggers of a derived table may put work off until the commit
    bool has_recalculate_queue = false;  ///< counts as OptionalTables do
    bool is_settled = true;              ///< no derived table was locked against readers: worth remembering

    /// A derived table whose keys cannot be named: only all of its rows can be removed.
    [[nodiscard]] bool has_unknown_table() const noexcept {
        return joined_rooms == TableShape::unknown || membership_snapshots == TableShape::unknown;
    }

    /// A derived table of which only the keys can be read.
    [[nodiscard]] bool has_keyed_table() const noexcept {
        return joined_rooms == TableShape::keyed || membership_snapshots == TableShape::keyed;
    }

    friend bool operator==(const SchemaShape&, const SchemaShape&) = default;
};

/// The schema of one homeserver, as it is now.
struct HomeserverSchema : Schema, SchemaShape {
    friend bool operator==(const HomeserverSchema&, const HomeserverSchema&) = default;
};

/// Looks the schema up in the catalog; raises PgError only.
[[nodiscard]] HomeserverSchema read_homeserver_schema(Oid namespace_oid);

/// False where JSON, which is UTF-8, cannot be compared with what else the tables hold.
[[nodiscard]] bool has_encoding_of_homeservers() noexcept;

/// What a relation is to a homeserver. Neither: it is not, or no longer, a homeserver's.
struct HomeserverTable {
    std::optional<BaseTable> base;
    bool is_derived = false;
};

/// Which of a homeserver's tables the relation is, by its name, and by its owner: a table that somebody else
/// put our trigger on is none. None is in a database whose encoding is none of a homeserver's. Remembered
/// until the catalog changes; C calls only, may be left by longjmp.
[[nodiscard]] HomeserverTable homeserver_table(Relation relation);

}  // namespace sliding_sync
