// Rows as psql prints them: aligned, wrapped to the terminal, or one column a line where that is not enough.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "cli/database.hpp"

namespace sliding_sync::cli {

struct TableStyle {
    std::optional<std::size_t> width;  ///< of the terminal; nothing: as wide as the rows are
    bool has_color = false;
};

[[nodiscard]] std::string table_text(const Rows& rows, const TableStyle& style);

}  // namespace sliding_sync::cli
