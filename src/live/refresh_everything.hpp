// After a TRUNCATE, which concerns whole tables.
#pragma once

#include "derive/homeserver.hpp"
#include "derive/refresh.hpp"
#include "live/pending_keys.hpp"

namespace sliding_sync {

/// Refreshes all rows that `keys.all_rooms` and `keys.all_memberships` stand for, page by page; with
/// `keep_changing` they are removed. If not even the keys can be read, nobody knows which rows are right, and
/// all are removed.
[[nodiscard]] Refreshed refresh_everything(const Homeserver& homeserver, const PendingKeys& keys,
                                           bool keep_changing);

}  // namespace sliding_sync
