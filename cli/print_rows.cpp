#include "cli/print_rows.hpp"

#include <unistd.h>

#include "cli/output.hpp"
#include "cli/table.hpp"
#include "cli/terminal.hpp"

namespace sliding_sync::cli {

void print_table(const Rows& rows, const Options& options) {
    TableStyle style;
    if (const auto size = terminal_size(STDOUT_FILENO)) {
        style.width = size->columns;
    }
    style.has_color = wants_color(options.color, STDOUT_FILENO);
    print_paged(table_text(rows, style));
}

void print_json(const Rows& rows) {
    std::string text = "[";
    for (std::size_t i = 0; i < rows.values.size(); ++i) {
        text += (i == 0 ? "" : ",\n ") + *rows.values[i][0];
    }
    print_line(text + "]");
}

}  // namespace sliding_sync::cli
