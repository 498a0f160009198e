// Locks for DDL on a homeserver that is running.
#pragma once

#include "guard/boundary.hpp"

namespace sliding_sync {

/// What CREATE TRIGGER and what DROP TRIGGER need.
enum class TableLock { share_row_exclusive, access_exclusive };

/// Takes the lock on every table (qualified, quoted names), all within one short wait, or none; tries again for a
/// minute. Whoever queues up behind a waiting request is kept less than a second each time. Inside an open
/// SpiConnection. Raises 55P03 when the tables were in use every time.
void lock_tables(const std::vector<std::string>& tables, TableLock lock);

}  // namespace sliding_sync
