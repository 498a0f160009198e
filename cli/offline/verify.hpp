// verify without the extension: the rules are in the program, facts are read with SELECT alone.
#pragma once

#include "cli/session.hpp"
#include "shared/finding.hpp"

namespace sliding_sync::cli::offline {

struct Verified {
    Findings findings;
    std::int64_t rooms = 0;  ///< looked at
    std::int64_t memberships = 0;
    std::int64_t wrong_rooms = 0;
    std::int64_t wrong_memberships = 0;
};

[[nodiscard]] Verified verify(Database& database, const Options& options);

/// "of 2,000 memberships looked at 3 are wrong ..."
[[nodiscard]] std::string summary(const Verified& verified);

/// What there is, as a table of one row.
[[nodiscard]] Rows status(Database& database, const Options& options);

}  // namespace sliding_sync::cli::offline
