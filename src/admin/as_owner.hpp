// Commands of the functions in SQL on the homeserver's tables.
#pragma once

#include "guard/boundary.hpp"

namespace sliding_sync {

/// Runs a command as the owner of the attached homeserver's tables: what their triggers, policies and index
/// expressions do is kept from the session. Returns the first value as text, nothing where there is none.
/// Raises 42501 for a role that has not the privileges of the owner, 42P01 when the schema is not attached.
std::optional<std::string> as_owner(const std::string& schema, const std::string& command);

}  // namespace sliding_sync
