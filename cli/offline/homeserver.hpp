// A homeserver's tables in a database where nothing of ours need be installed.
#pragma once

#include <functional>
#include <string>

#include "cli/session.hpp"
#include "shared/base_tables.hpp"

namespace sliding_sync::cli::offline {

struct Homeserver {
    std::string schema;
    bool has_derived_tables = false;
    OptionalTables tables;

    [[nodiscard]] std::string quoted_schema() const;
};

/// The one that --schema names, or the only one. Raises Failure.
[[nodiscard]] Homeserver find_homeserver(Database& database, const Options& options);

/// Raises Failure where code in the tables (index expressions, policies, views) would gain rights that
/// their owner has not: a superuser's, to create roles, to bypass policies, to run programs, to use files
/// or all data.
void refuse_greater_rights(Database& database, const Homeserver& homeserver, const Options& options);

/// Reads in a transaction: at one moment, read only, with plans that go by indexes, since the statements ask
/// for few keys at a time. Nothing stays in the session, which may be a pooler's, and the homeserver's next.
void in_transaction(Database& database, const std::function<void()>& read);

/// The SQL of these.
[[nodiscard]] std::string find_text(const Options& options);
[[nodiscard]] const std::vector<std::string>& begin_statements();

}  // namespace sliding_sync::cli::offline
