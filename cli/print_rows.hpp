// Rows on standard output, as the options ask for them.
#pragma once

#include "cli/database.hpp"
#include "cli/options.hpp"

namespace sliding_sync::cli {

void print_table(const Rows& rows, const Options& options);

/// Rows of one column, each a JSON object: the server itself knows how its types are written.
void print_json(const Rows& rows);

}  // namespace sliding_sync::cli
