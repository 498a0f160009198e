// The tables of a homeserver that the rows are made from.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

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

/// What a room's state was after an event; all four or nothing.
inline constexpr std::array<const char*, 4> state_group_tables{"event_to_state_groups", "state_groups",
                                                               "state_group_edges", "state_groups_state"};

/// What current state has been; readable only with its index on rooms.
inline constexpr const char* state_changes_table = "current_state_delta_stream";
inline constexpr const char* state_changes_index = "current_state_delta_stream_room_idx";

/// Tables and columns that an older homeserver does not have. They count only if they belong to the owner of
/// the derived tables or to a superuser: a role that may create tables in the schema could have planted them.
struct OptionalTables {
    bool has_rejections = false;         ///< events.rejection_reason says the same since schema 68
    bool has_redaction_recheck = false;  ///< redactions.recheck, from schema 94
    bool has_ban_redactions = false;     ///< room_ban_redactions, from schema 92
    bool has_state_groups = false;       ///< they may live in another database
    bool has_state_changes = false;      ///< state_changes_table with its index, from schema 88

    friend bool operator==(const OptionalTables&, const OptionalTables&) = default;
};

}  // namespace sliding_sync
