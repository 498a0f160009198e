#include "cli/session.hpp"

#include <fmt/format.h>

#include "cli/interrupts.hpp"
#include "cli/password.hpp"

namespace sliding_sync::cli {

namespace {

constexpr const char* undefined_schema = "3F000";
constexpr const char* undefined_function = "42883";
constexpr const char* query_canceled = "57014";
constexpr const char* lock_not_available = "55P03";

std::string or_absent(const Value& value) {
    return value.value_or("cannot be loaded");
}

}  // namespace

Connector::Connector(const Options& options)
    : options_(options), parameters_(connection_parameters(options.connection)) {
    parameters_["application_name"] = fmt::format("sliding-sync {}", options.command);
    parameters_["client_encoding"] = "UTF8";
    if (options.connection.always_prompt) {
        parameters_["password"] = ask_password(user_of(parameters_));
    }
}

std::unique_ptr<Database> Connector::open() const {
    try {
        return open_once();
    } catch (const PasswordNeeded& error) {
        if (options_.connection.never_prompt) {
            throw Failure(ExitCode::error, error.what(), {},
                          "Write the password into ~/.pgpass, or leave out -w to be asked for it.");
        }
        parameters_["password"] = ask_password(user_of(parameters_));
        return open_once();
    }
}

std::unique_ptr<Database> Connector::open_once() const {
    auto database = std::make_unique<Database>(connection_string(parameters_), [](Message notice) {
        // the last words of a session that may be had again
        if (notice.severity == "fatal") {
            notice.severity = "warning";
        }
        console().print(notice);
    });
    if (options_.verbose) {
        const Rows session =
            database->run("SELECT pg_catalog.current_database(), session_user, pg_catalog.version()");
        console().say(fmt::format("session {} in database {} as {}: {}", database->pid(),
                                  *session.values[0][0], *session.values[0][1], *session.values[0][2]));
    }
    return database;
}

Rows run(Database& database, const std::string& sql, const Options& options) {
    if (options.echo) {
        console().echo(sql + ";");
    }
    const Interrupts::Scope canceling([&](int count) {
        if (count > 1) {
            interrupts().exit_now();
        }
        database.cancel();
    });
    try {
        return database.run(sql);
    } catch (const ServerError& error) {
        if (error.sqlstate == query_canceled && interrupts().count() > 0) {
            throw Failure(ExitCode::interrupted, "interrupted");
        }
        throw;
    }
}

void check_versions(Database& database, const Options& options) {
    Rows versions;
    try {
        versions = run(database, "SELECT * FROM sliding_sync.version()", options);
    } catch (const ServerError& error) {
        if (error.sqlstate != undefined_schema && error.sqlstate != undefined_function) {
            throw;
        }
        const Rows name = database.run("SELECT pg_catalog.current_database()");
        throw Failure(
            ExitCode::error,
            fmt::format("the extension sliding_sync is not installed in database \"{}\"", *name.values[0][0]),
            {},
            "CREATE EXTENSION sliding_sync; as a superuser. Without it: sliding-sync verify --no-extension, "
            "as the homeserver's role.");
    }
    const Value& library = versions.at(0, "library_version");
    const Value& sql = versions.at(0, "extension_version");
    if (library == SLIDING_SYNC_VERSION && sql == SLIDING_SYNC_VERSION) {
        return;
    }
    throw Failure(
        ExitCode::version_mismatch, "versions differ",
        fmt::format("Program {}, library {}, SQL {}.", SLIDING_SYNC_VERSION, or_absent(library),
                    or_absent(sql)),
        "Install the same version of all three, then ALTER EXTENSION sliding_sync UPDATE; sessions keep the "
        "library that they have loaded.");
}

Failure failure_of(const ServerError& error) {
    const ExitCode code =
        error.sqlstate == lock_not_available ? ExitCode::lock_not_obtained : ExitCode::error;
    return {code, error.what(), error.detail, error.hint};
}

}  // namespace sliding_sync::cli
