#include "list/list_columns.hpp"

extern "C" {
#include "catalog/pg_type_d.h"
}

namespace sliding_sync {

ScannedTable& scanned_memberships() {
    static ScannedTable table("sliding_sync_membership_snapshots", {{"user_id", TEXTOID}},
                              {{"room_id", TEXTOID},
                               {"sender", TEXTOID},
                               {"membership", TEXTOID},
                               {"forgotten", INT4OID},
                               {"event_stream_ordering", INT8OID},
                               {"has_known_state", BOOLOID},
                               {"is_encrypted", BOOLOID},
                               {"room_type", TEXTOID},
                               {"room_name", TEXTOID},
                               {"membership_event_id", TEXTOID},
                               {"tombstone_successor_room_id", TEXTOID}},
                              false);
    return table;
}

ScannedTable& scanned_joined_rooms() {
    static ScannedTable table("sliding_sync_joined_rooms", {{"room_id", TEXTOID}},
                              {{"room_id", TEXTOID},
                               {"event_stream_ordering", INT8OID},
                               {"bump_stamp", INT8OID},
                               {"is_encrypted", BOOLOID},
                               {"room_type", TEXTOID},
                               {"room_name", TEXTOID},
                               {"tombstone_successor_room_id", TEXTOID}},
                              true);
    return table;
}

ScannedTable& scanned_rooms() {
    static ScannedTable table("rooms", {{"room_id", TEXTOID}},
                              {{"room_id", TEXTOID}, {"room_version", TEXTOID}}, true);
    return table;
}

ScannedTable& scanned_ignored_users() {
    static ScannedTable table("ignored_users", {{"ignorer_user_id", TEXTOID}}, {{"ignored_user_id", TEXTOID}},
                              false);
    return table;
}

}  // namespace sliding_sync
