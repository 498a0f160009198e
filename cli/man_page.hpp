// The manual page, from the description of the command line.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace sliding_sync::cli {

[[nodiscard]] std::string man_page(const CLI::App& app);

}  // namespace sliding_sync::cli
