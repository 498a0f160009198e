// --help, as PostgreSQL's tools print it.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace sliding_sync::cli {

inline constexpr const char* usage_hint = "Try \"sliding-sync --help\" for more information.";

/// Help for the program, or for the command that was named on the way.
[[nodiscard]] std::string help_text(const CLI::App& app);

// For help, man page and completion.
struct OptionText {
    std::string names;  ///< "-h, --host=HOST"
    std::string about;
};
[[nodiscard]] std::vector<const CLI::App*> commands_of(const CLI::App& app);
[[nodiscard]] std::vector<const CLI::Option*> options_of(const CLI::App& app);
[[nodiscard]] OptionText text_of(const CLI::Option& option);
/// "USER [DBNAME]"
[[nodiscard]] std::string words_of(const CLI::App& command);

struct ExitText {
    int code;
    const char* about;
};
[[nodiscard]] const std::vector<ExitText>& exit_texts();

}  // namespace sliding_sync::cli
