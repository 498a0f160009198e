// Locks rows as they are by now, at every isolation level.
#pragma once

#include "guard/boundary.hpp"

namespace sliding_sync {

/// Where a row version is stored: Cell::number of its system columns `tableoid` and `ctid`.
struct RowPlace {
    std::int64_t table;
    std::int64_t place;
};

/// Locks these rows in this order against every other change until the transaction ends. Follows each to its newest
/// version, waiting for whoever is changing it; where SELECT FOR UPDATE raises 40001 at REPEATABLE READ. A row that is
/// gone by then is passed over. Read the rows after this (AsOfNow), not before.
void lock_newest_versions(std::span<const RowPlace> rows);

}  // namespace sliding_sync
