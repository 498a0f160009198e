// Lets a homeserver delete events and rooms, or change their keys, while derived rows refer to them. Foreign
// keys are checked at the end of the statement, long before the flush: what refers to the old row is removed
// first, and made again when the transaction ends (H26, H29, H31, H84). Our trigger's name sorts before those
// of the foreign keys, and by the time the first one fires all rows of the statement are changed.
#pragma once

#include "live/pending_keys.hpp"

extern "C" {
#include "commands/trigger.h"
}

namespace sliding_sync {

/// After `collect` noted a row of `events` or `rooms`: whether it was deleted, or a column that foreign keys
/// refer to has changed. C calls only; may be left by longjmp.
[[nodiscard]] bool may_be_referred_to(const TriggerData& trigger, BaseTable table);

/// Removes what refers to the row as it was, whatever key that has, and notes the key. Constant cost for each
/// row.
void clear_references(const TriggerData& trigger, BaseTable table);

}  // namespace sliding_sync
