// Turns one changed row of a homeserver's table into noted keys. Runs once a row: plain C, no statement, no
// lock.
#pragma once

#include "live/pending_keys.hpp"

extern "C" {
#include "commands/trigger.h"
}

namespace sliding_sync {

/// Notes what the row that fired the trigger (INSERT, UPDATE, DELETE, or a TRUNCATE of the whole table) may
/// have changed. Columns are found by name and type; a row whose key cannot be read makes all derived rows
/// suspect, one of which only the rest cannot be read makes its room or membership be looked at from scratch.
/// For tables that are the homeserver's (homeserver_table).
void collect(const TriggerData& trigger, BaseTable table);

}  // namespace sliding_sync
