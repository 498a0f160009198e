// What the program ends with, and the exception that says so.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace sliding_sync::cli {

enum class ExitCode : int {
    done = 0,
    error = 1,
    usage = 2,
    differences = 3,  ///< verify found some; ready said no
    lock_not_obtained = 4,
    version_mismatch = 5,
    interrupted = 130,
};

/// Ends the program, with what PostgreSQL's tools say then: error, detail, hint.
struct Failure : std::runtime_error {
    Failure(ExitCode exit_code, const std::string& message, std::string detail_text = {},
            std::string hint_text = {})
        : std::runtime_error(message), code(exit_code), detail(std::move(detail_text)),
          hint(std::move(hint_text)) {}

    ExitCode code;
    std::string detail;
    std::string hint;
};

}  // namespace sliding_sync::cli
