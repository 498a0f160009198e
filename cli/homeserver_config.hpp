// The database that a Synapse's configuration names.
#pragma once

#include <string>

#include "cli/connection_string.hpp"

namespace sliding_sync::cli {

/// `database.args` of a homeserver.yaml, or of the database of `databases` that holds `main`. Raises Failure.
[[nodiscard]] ConnectionParameters database_of_homeserver(const std::string& path);

}  // namespace sliding_sync::cli
