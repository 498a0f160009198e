// Completion for shells, from the description of the command line.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace sliding_sync::cli {

[[nodiscard]] std::string bash_completion(const CLI::App& app);
[[nodiscard]] std::string zsh_completion(const CLI::App& app);
[[nodiscard]] std::string fish_completion(const CLI::App& app);

}  // namespace sliding_sync::cli
