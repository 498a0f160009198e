// A homeserver's tables in a database where nothing of ours need be installed.
#pragma once

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

/// Raises Failure where code in the tables (index expressions, policies, views) would gain rights that their
/// owner has not: those of a superuser, or to run programs or use files on the server.
void refuse_greater_rights(Database& database, const Homeserver& homeserver, const Options& options);

/// A read-only session whose plans go by indexes: the statements ask for few keys at a time.
void prepare_session(Database& database);

/// The SQL of these.
[[nodiscard]] std::string find_text(const Options& options);
[[nodiscard]] std::vector<std::string> session_settings();

}  // namespace sliding_sync::cli::offline
