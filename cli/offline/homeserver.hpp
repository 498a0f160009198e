// A homeserver's tables in a database where nothing of ours need be installed.
#pragma once

#include <string>

#include "cli/session.hpp"

namespace sliding_sync::cli::offline {

struct Homeserver {
    std::string schema;
    bool has_derived_tables = false;
    bool has_rejections = false;
    bool has_redaction_recheck = false;
    bool has_ban_redactions = false;
    bool has_state_groups = false;
    bool has_state_changes = false;

    /// The qualified name of one of its tables.
    [[nodiscard]] std::string table(std::string_view name) const;
};

/// The one that --schema names, or the only one. Raises Failure.
[[nodiscard]] Homeserver find_homeserver(Database& database, const Options& options);

/// A read-only session whose plans go by indexes: the statements ask for few keys at a time.
void prepare_session(Database& database);

}  // namespace sliding_sync::cli::offline
