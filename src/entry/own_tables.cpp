// The entry point of the trigger on the extension's own tables (extension/install/replication.sql).
#include "entry/sql_function.hpp"
#include "guard/boundary.hpp"

extern "C" {
#include "commands/trigger.h"
#include "miscadmin.h"
}

// Fires where session_replication_role is replica only. The extension's own writes there, such as the note
// that rows have arrived, are known by their switch to the tables' owner, which applying a replicated change
// does not make.
SLIDING_SYNC_FUNCTION(sliding_sync_drop_replicated_row) {
    const auto* const trigger = reinterpret_cast<const TriggerData*>(fcinfo->context);
    if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
        !TRIGGER_FIRED_FOR_ROW(trigger->tg_event)) {
        sliding_sync::raise_pg_error(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                                     "this function can only be called as a BEFORE trigger for each row", "",
                                     "It belongs on the extension's own tables.");
    }
    if (!InLocalUserIdChange()) {
        return Datum{0};
    }
    return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple
                                                                      : trigger->tg_trigtuple);
}
