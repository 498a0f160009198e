// Lets a homeserver delete events and rooms that derived rows still refer to. Foreign keys are checked at the end
// of the deleting statement, long before the flush: what refers to the deleted rows is re-pointed or removed first
// (H26, H29, H31, H84). Our trigger's name sorts before those of the foreign keys, and by the time the first one
// fires all rows of the statement are gone.
#pragma once

#include "live/changed_keys.hpp"

extern "C" {
#include "commands/trigger.h"
}

namespace sliding_sync {

/// After `collect` noted a deleted row of `events` or `rooms`: clears the way for its foreign keys. `function` is
/// what the trigger was called through; it lives as long as the deleting statement, so that the work is done once a
/// statement and room, and once a membership event that still has a snapshot.
void release_deleted_row(const TriggerData& trigger, BaseTable table, FmgrInfo* function);

}  // namespace sliding_sync
