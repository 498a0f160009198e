// The entry point of the triggers: one function for all tables.
#include "entry/sql_function.hpp"
#include "live/bypassed_writes.hpp"
#include "live/clear_references.hpp"
#include "live/collect.hpp"
#include "live/lost_rows.hpp"
#include "pg/settings.hpp"

namespace {

using sliding_sync::BypassReason;
using sliding_sync::HomeserverTable;

// Any role may name our function in CREATE TRIGGER, with any level and timing. Only in the form that attach()
// gives its triggers is there a row to read, has the table been changed, and does our code run before foreign
// keys are checked.
bool has_form_of_attached(const TriggerData& trigger, const HomeserverTable& table) noexcept {
    if (!TRIGGER_FIRED_AFTER(trigger.tg_event) || trigger.tg_trigger->tgdeferrable) {
        return false;
    }
    if (table.is_derived) {
        return TRIGGER_FIRED_FOR_ROW(trigger.tg_event) && TRIGGER_FIRED_BY_DELETE(trigger.tg_event);
    }
    return TRIGGER_FIRED_FOR_ROW(trigger.tg_event) != TRIGGER_FIRED_BY_TRUNCATE(trigger.tg_event);
}

[[noreturn]] void refuse_form(const TriggerData& trigger, const HomeserverTable& table) {
    sliding_sync::raise_pg_error(
        ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
        psprintf("trigger \"%s\" on table \"%s\" does not fire as sliding_sync needs it",
                 trigger.tg_trigger->tgname, RelationGetRelationName(trigger.tg_relation)),
        table.is_derived ? "It must be AFTER DELETE FOR EACH ROW, and not deferrable."
                         : "It must be AFTER INSERT, UPDATE or DELETE FOR EACH ROW, or AFTER TRUNCATE, and "
                           "not deferrable.",
        "Drop it, and use sliding_sync.attach() to create the triggers.");
}

void act(const TriggerData& trigger, const HomeserverTable& table) {
    if (table.is_derived) {
        sliding_sync::keep_lost_row(trigger);
        return;
    }
    sliding_sync::collect(trigger, *table.base);
    if (sliding_sync::may_be_referred_to(trigger, *table.base)) {
        sliding_sync::enter_cpp([&] { sliding_sync::clear_references(trigger, *table.base); });
    }
}

}  // namespace

SLIDING_SYNC_FUNCTION(sliding_sync_collect) {
    if (!CALLED_AS_TRIGGER(fcinfo)) {
        sliding_sync::raise_pg_error(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                                     "this function can only be called as a trigger", "",
                                     "Use sliding_sync.attach() to create the triggers.");
    }
    const auto& trigger = *reinterpret_cast<const TriggerData*>(fcinfo->context);
    const HomeserverTable table = sliding_sync::homeserver_table(trigger.tg_relation);
    if (!has_form_of_attached(trigger, table)) {
        refuse_form(trigger, table);
    }
    if (!table.base && !table.is_derived) {
        sliding_sync::record_bypassed_write(RelationGetRelid(trigger.tg_relation), BypassReason::moved);
    } else if (SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA) {
        sliding_sync::record_bypassed_write(RelationGetRelid(trigger.tg_relation), BypassReason::replica);
    } else if (!sliding_sync::enabled) {
        sliding_sync::record_bypassed_write(RelationGetRelid(trigger.tg_relation), BypassReason::disabled);
    } else {
        act(trigger, table);
    }
    return Datum{0};
}
