// Whether a derived table is exactly as a homeserver and attach() make it.
#pragma once

#include "guard/boundary.hpp"

namespace sliding_sync {

/// True when the table has nothing but the foreign keys, indexes and triggers that it has of a homeserver and
/// of attach(), and nothing makes the server refuse an UPDATE of it: what a statement of ours writes is what
/// stands there, no code but the server's has a say, and nothing is checked later than at the end of the
/// statement. Nothing when the table is locked against readers: whoever changes it is not waited for.
[[nodiscard]] std::optional<bool> is_plain_table(PgFrame frame, Oid relation);

/// True when no triggers but those, and nothing else that acts on what is written, can put anything off until
/// the end of the transaction. Opens no index, which a backend that writes no row would do for this alone.
[[nodiscard]] std::optional<bool> has_no_foreign_triggers(PgFrame frame, Oid relation);

}  // namespace sliding_sync
