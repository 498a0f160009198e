#include "cli/commands.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/backfill.hpp"
#include "cli/lock_watch.hpp"
#include "cli/offline/findings.hpp"
#include "cli/offline/verify.hpp"
#include "cli/output.hpp"
#include "cli/print_rows.hpp"
#include "cli/session.hpp"
#include "cli/statements.hpp"

namespace sliding_sync::cli {

namespace {

/// What a row says, whichever way it was fetched.
Value value_of(const Rows& rows, std::size_t row, std::string_view column, const Options& options) {
    if (!options.json) {
        return rows.at(row, column);
    }
    const auto object = nlohmann::json::parse(*rows.values[row][0]);
    const auto& value = object.at(std::string(column));
    if (value.is_null()) {
        return std::nullopt;
    }
    if (value.is_boolean()) {
        return value.get<bool>() ? "t" : "f";
    }
    return value.is_string() ? value.get<std::string>() : value.dump();
}

ExitCode exit_code_of(const Rows& rows, const Options& options) {
    if (options.command == "ready") {
        return value_of(rows, 0, "is_ready", options) == "t" ? ExitCode::done : ExitCode::differences;
    }
    if (options.command == "version") {
        const bool same = value_of(rows, 0, "library_version", options) == SLIDING_SYNC_VERSION &&
                          value_of(rows, 0, "extension_version", options) == SLIDING_SYNC_VERSION;
        return same ? ExitCode::done : ExitCode::version_mismatch;
    }
    if (options.command == "verify") {
        for (std::size_t i = 0; i < rows.values.size(); ++i) {
            if (value_of(rows, i, "severity", options) != "unverifiable") {
                return ExitCode::differences;
            }
        }
    }
    return ExitCode::done;
}

void print_dry_run(const Options& options) {
    if (options.without_extension) {
        for (const std::string& line : offline::dry_run(options)) {
            print_line(line);
        }
        return;
    }
    print_line(statement_of(options) + ";");
    for (const std::string& line : locks_of(options.command)) {
        print_line("-- " + line);
    }
}

bool waits_for_locks(const Options& options) {
    return options.command == "attach" || options.command == "detach";
}

Rows fetch(const Connector& connector, Database& database, const Options& options) {
    std::unique_ptr<LockWatch> watch;
    if (waits_for_locks(options)) {
        watch = std::make_unique<LockWatch>(connector.open(), database.pid());
    }
    const std::string sql = statement_of(options);
    return run(database, options.json ? fmt::format("SELECT pg_catalog.to_json(r) FROM ({}) r", sql) : sql,
               options);
}

// Findings of ours have no numbers and no JSON: all columns are text.
std::string json_array(const Rows& rows) {
    std::string text = "[";
    for (std::size_t i = 0; i < rows.values.size(); ++i) {
        nlohmann::ordered_json object;
        for (std::size_t column = 0; column < rows.columns.size(); ++column) {
            const Value& value = rows.values[i][column];
            object[rows.columns[column]] = value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
        }
        text += (i == 0 ? "" : ",\n ") +
                object.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
    }
    return text + "]";
}

ExitCode verify_without_extension(Database& database, const Options& options) {
    const offline::Verified verified = offline::verify(database, options);
    const Rows findings = offline::rows_of(verified.findings);
    if (options.json) {
        print_line(json_array(findings));
    } else {
        print_table(findings, options);
    }
    if (options.sample < 1) {
        for (const std::string& line : offline::summary(verified)) {
            console().say(line);
        }
    }
    Options as_fetched = options;
    as_fetched.json = false;
    return exit_code_of(findings, as_fetched);
}

ExitCode run_without_extension(const Connector& connector, const Options& options) {
    const auto database = connector.open();
    if (options.command == "verify") {
        return verify_without_extension(*database, options);
    }
    if (options.json) {
        print_json(offline::status(*database, options));
    } else {
        print_table(offline::status(*database, options), options);
    }
    return ExitCode::done;
}

}  // namespace

ExitCode run_command(const Options& options) {
    if (options.dry_run) {
        print_dry_run(options);
        return ExitCode::done;
    }
    const Connector connector(options);
    if (options.command == "backfill") {
        return run_backfill(connector, options);
    }
    if (options.without_extension) {
        return run_without_extension(connector, options);
    }
    const auto database = connector.open();
    if (needs_same_version(options.command)) {
        check_versions(*database, options);
    }
    const Rows rows = fetch(connector, *database, options);
    if (options.json) {
        print_json(rows);
    } else {
        print_table(rows, options);
    }
    return exit_code_of(rows, options);
}

}  // namespace sliding_sync::cli
