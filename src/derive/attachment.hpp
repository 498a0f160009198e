// Which homeservers attach() was called for.
#pragma once

#include "guard/boundary.hpp"

namespace sliding_sync {

/// True when attach() has recorded the homeserver in this schema, by now and at every isolation level. Looked
/// up each time: it is asked before something is noted for an administrator, which is rare.
[[nodiscard]] bool is_attached(Oid namespace_oid);

}  // namespace sliding_sync
