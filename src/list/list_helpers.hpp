// Small functions of the SQL surface that lists and their readers share.
#pragma once

#include "pg/sql_call.hpp"

namespace sliding_sync {

/// sliding_sync.lower_case(text): called for each room's name, so its declaration is looked at once a
/// statement.
[[nodiscard]] Datum lower_case_text(FunctionCallInfo call);

/// sliding_sync.known_room_versions().
[[nodiscard]] Datum known_room_versions(FunctionCallInfo call);

}  // namespace sliding_sync
