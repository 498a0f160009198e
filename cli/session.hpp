// Sessions as the options ask for them.
#pragma once

#include <memory>

#include "cli/database.hpp"
#include "cli/exit_code.hpp"
#include "cli/options.hpp"

namespace sliding_sync::cli {

/// Knows how to connect; asks for a password once.
class Connector {
public:
    explicit Connector(const Options& options);

    /// Raises ConnectionLost.
    [[nodiscard]] std::unique_ptr<Database> open() const;

private:
    [[nodiscard]] std::unique_ptr<Database> open_once() const;

    const Options& options_;
    mutable ConnectionParameters parameters_;
};

/// Runs a statement, echoes it if wanted; Ctrl-C cancels it, and once more ends the program.
[[nodiscard]] Rows run(Database& database, const std::string& sql, const Options& options);

/// Raises Failure when the extension is not there, or its versions are not this program's.
void check_versions(Database& database, const Options& options);

/// What a program has to end with for this error.
[[nodiscard]] Failure failure_of(const ServerError& error);

}  // namespace sliding_sync::cli
