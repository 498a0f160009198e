// Standard output: data, and nothing else.
#pragma once

#include <string>
#include <string_view>

namespace sliding_sync::cli {

/// Through the pager when standard output is a terminal with fewer lines (PSQL_PAGER, PAGER; empty: none).
void print_paged(const std::string& text);

/// At once, also into a pipe. Raises Failure when nobody can read it.
void print_line(std::string_view line);

/// Whoever reads may have gone: told at the end, as by every tool.
void flush_output();

}  // namespace sliding_sync::cli
