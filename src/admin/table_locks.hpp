// Locks for DDL on a homeserver that is running.
#pragma once

#include "guard/boundary.hpp"

namespace sliding_sync {

/// Takes the lock that CREATE TRIGGER needs on every table (qualified, quoted names), all within one short
/// wait, or none; tries again for a minute. A writer that queues up behind a waiting request is kept less
/// than a second each time. Inside an open SpiConnection. Raises 55P03 when the tables were in use every
/// time.
void lock_tables(const std::vector<std::string>& tables);

}  // namespace sliding_sync
