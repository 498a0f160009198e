// verify without the extension: the rules are in the program, facts are read with SELECT alone.
#pragma once

#include <map>

#include "cli/session.hpp"
#include "shared/finding.hpp"

namespace sliding_sync::cli::offline {

/// Of one table.
struct Looked {
    std::int64_t keys = 0;
    std::int64_t wrong = 0;
    std::map<std::string, std::int64_t> reasons;  ///< how many rows have findings of this reason
};

struct Verified {
    Findings findings;
    Looked rooms;
    Looked memberships;
};

[[nodiscard]] Verified verify(Database& database, const Options& options);

/// "of 2,000 memberships looked at 3 are wrong: 2 wrong_membership, 1 missing_row"; a line a table.
[[nodiscard]] std::vector<std::string> summary(const Verified& verified);

/// The SQL that is known before anything is read, and what it locks.
[[nodiscard]] std::vector<std::string> dry_run(const Options& options);

/// What there is, as a table of one row.
[[nodiscard]] Rows status(Database& database, const Options& options);

}  // namespace sliding_sync::cli::offline
