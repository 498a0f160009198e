// Which tables of a homeserver a schema holds, and what they look like now.
#pragma once

#include "pg/catalog.hpp"

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

/// Without them there is no homeserver; the others may be missing in older schemas.
inline constexpr std::array<BaseTable, 7> required_base_tables{BaseTable::events,
                                                               BaseTable::event_json,
                                                               BaseTable::redactions,
                                                               BaseTable::rooms,
                                                               BaseTable::room_memberships,
                                                               BaseTable::current_state_events,
                                                               BaseTable::local_current_membership};

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

/// What the tables of a schema look like now.
struct SchemaShape {
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

/// Which of a homeserver's tables the relation is, by its name, and by its owner: a table that somebody else put our trigger on
/// is none. None is in a database whose encoding is none of a homeserver's. Remembered until the catalog changes; C calls
/// only, may be left by longjmp.
[[nodiscard]] HomeserverTable homeserver_table(Relation relation);

}  // namespace sliding_sync
