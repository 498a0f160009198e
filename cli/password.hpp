#pragma once

#include <string>

namespace sliding_sync::cli {

/// Asks on the terminal, without showing what is typed. Raises Failure when there is no terminal.
[[nodiscard]] std::string ask_password(const std::string& user);

}  // namespace sliding_sync::cli
