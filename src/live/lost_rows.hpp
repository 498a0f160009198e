// Rows of the derived tables that somebody else deletes. They stay deleted, for a homeserver may do so (H22),
// but readers have to know.
#pragma once

#include "guard/boundary.hpp"

extern "C" {
#include "commands/trigger.h"
}

namespace sliding_sync {

/// Once for each row that is deleted from a derived table: keeps its key until the transaction ends. What our
/// own statements delete is not kept. Plain C in style; may be left by longjmp.
void keep_lost_row(const TriggerData& trigger);

[[nodiscard]] bool has_lost_rows() noexcept;

/// Before commit, after the flush: where rows are still missing that should be there, records a bypassed
/// write.
void record_lost_rows();

void forget_lost_rows() noexcept;

}  // namespace sliding_sync
