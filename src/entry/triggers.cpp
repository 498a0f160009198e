// The entry points of the triggers: one function a base table.
#include "live/bypassed_writes.hpp"
#include "live/clear_references.hpp"
#include "live/collect.hpp"
#include "live/lost_rows.hpp"
#include "pg/settings.hpp"

extern "C" {
#include "fmgr.h"
}

namespace {

using sliding_sync::BaseTable;

// Anybody may name our functions in CREATE TRIGGER, with any level and timing. Only in the form that attach() gives its
// triggers is there a row to read, has the table been changed, and does our code come before foreign keys are checked.
bool has_form_of_attached(const TriggerData& trigger) noexcept {
    const bool is_level_right =
        TRIGGER_FIRED_FOR_ROW(trigger.tg_event) != TRIGGER_FIRED_BY_TRUNCATE(trigger.tg_event);
    return TRIGGER_FIRED_AFTER(trigger.tg_event) && is_level_right && !trigger.tg_trigger->tgdeferrable;
}

const TriggerData& trigger_of_call(FunctionCallInfo fcinfo) {
    if (!CALLED_AS_TRIGGER(fcinfo)) {
        sliding_sync::raise_pg_error(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                                     "this function can only be called as a trigger", "",
                                     "Use sliding_sync.attach() to create the triggers.");
    }
    const auto& trigger = *reinterpret_cast<const TriggerData*>(fcinfo->context);
    if (!has_form_of_attached(trigger)) {
        sliding_sync::raise_pg_error(
            ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
            psprintf("trigger \"%s\" on table \"%s\" does not fire as sliding_sync needs it",
                     trigger.tg_trigger->tgname, RelationGetRelationName(trigger.tg_relation)),
            "It must be AFTER INSERT, UPDATE or DELETE FOR EACH ROW, or AFTER TRUNCATE, and not deferrable.",
            "Drop it, and use sliding_sync.attach() to create the triggers.");
    }
    return trigger;
}

Datum changed_row(FunctionCallInfo fcinfo, BaseTable table) {
    const TriggerData& trigger = trigger_of_call(fcinfo);
    if (!sliding_sync::is_base_table(trigger.tg_relation, table)) {
        sliding_sync::record_bypassed_write(RelationGetRelid(trigger.tg_relation),
                                            sliding_sync::BypassReason::moved);
    } else if (SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA) {
        sliding_sync::record_bypassed_write(RelationGetRelid(trigger.tg_relation),
                                            sliding_sync::BypassReason::replica);
    } else if (!sliding_sync::enabled) {
        sliding_sync::record_bypassed_write(RelationGetRelid(trigger.tg_relation),
                                            sliding_sync::BypassReason::disabled);
    } else {
        sliding_sync::collect(trigger, table);
        if (sliding_sync::may_be_referred_to(trigger, table)) {
            sliding_sync::enter_cpp([&] { sliding_sync::clear_references(trigger, table); });
        }
    }
    return Datum{0};
}

}  // namespace

#define SLIDING_SYNC_TRIGGER(table)                                                                          \
    extern "C" {                                                                                             \
    PG_FUNCTION_INFO_V1(sliding_sync_collect_##table);                                                       \
    PGDLLEXPORT Datum sliding_sync_collect_##table(PG_FUNCTION_ARGS) {                                       \
        return changed_row(fcinfo, BaseTable::table);                                                        \
    }                                                                                                        \
    }

SLIDING_SYNC_TRIGGER(events)
SLIDING_SYNC_TRIGGER(event_json)
SLIDING_SYNC_TRIGGER(rejections)
SLIDING_SYNC_TRIGGER(redactions)
SLIDING_SYNC_TRIGGER(room_ban_redactions)
SLIDING_SYNC_TRIGGER(rooms)
SLIDING_SYNC_TRIGGER(room_memberships)
SLIDING_SYNC_TRIGGER(current_state_events)
SLIDING_SYNC_TRIGGER(local_current_membership)

extern "C" {
PG_FUNCTION_INFO_V1(sliding_sync_collect_derived);
PGDLLEXPORT Datum sliding_sync_collect_derived(PG_FUNCTION_ARGS);
}

Datum sliding_sync_collect_derived(PG_FUNCTION_ARGS) {
    if (!CALLED_AS_TRIGGER(fcinfo)) {
        sliding_sync::raise_pg_error(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                                     "this function can only be called as a trigger", "",
                                     "Use sliding_sync.attach() to create the triggers.");
    }
    const auto& trigger = *reinterpret_cast<const TriggerData*>(fcinfo->context);
    const Oid table = RelationGetRelid(trigger.tg_relation);
    if (!TRIGGER_FIRED_AFTER(trigger.tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger.tg_event) ||
        !TRIGGER_FIRED_BY_DELETE(trigger.tg_event)) {
        sliding_sync::raise_pg_error(
            ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
            "this function can only be called as an AFTER DELETE trigger for each row", "",
            "Use sliding_sync.attach() to create the triggers.");
    }
    const char* const name = RelationGetRelationName(trigger.tg_relation);
    if (strcmp(name, sliding_sync::joined_rooms_table) != 0 &&
        strcmp(name, sliding_sync::membership_snapshots_table) != 0) {
        sliding_sync::record_bypassed_write(table, sliding_sync::BypassReason::moved);
    } else if (SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA) {
        sliding_sync::record_bypassed_write(table, sliding_sync::BypassReason::replica);
    } else if (!sliding_sync::enabled) {
        sliding_sync::record_bypassed_write(table, sliding_sync::BypassReason::disabled);
    } else {
        sliding_sync::keep_lost_row(trigger);
    }
    return PointerGetDatum(nullptr);
}
