#include "cli/table.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>

#include "cli/printable.hpp"
#include "cli/terminal.hpp"

namespace sliding_sync::cli {

namespace {

using Lines = std::vector<std::string>;
using Widths = std::vector<std::size_t>;

constexpr std::size_t narrowest_column = 8;
constexpr std::size_t border = 3;  // " | "

std::string padding(std::size_t width, std::string_view text) {
    const std::size_t used = display_width(text);
    return std::string(width > used ? width - used : 0, ' ');
}

std::string repeated(std::size_t count) {
    return std::string(count, '-');
}

// By what is in the cell: the words are the same in every view.
Color color_of(std::string_view column, std::string_view value) {
    if (column == "severity" || column == "verdict") {
        const bool is_bad = value == "error" || value == "blocker" || value == "visible" ||
                            value == "row_wrong" || value == "row_missing" || value == "differs";
        const bool is_doubtful = value == "warning" || value == "hidden" || value == "queued";
        return is_bad ? Color::red : is_doubtful ? Color::yellow : Color::none;
    }
    if (column == "is_ready" || column == "is_finished") {
        return value == "t" ? Color::green : Color::red;
    }
    return Color::none;
}

class Table {
public:
    Table(const Rows& rows, const TableStyle& style) : rows_(rows), style_(style) {
        for (const std::string& column : rows.columns) {
            names_.push_back(printable(column));
        }
        for (const auto& row : rows.values) {
            Lines cells;
            for (const Value& value : row) {
                cells.push_back(printable(value.value_or("")));
            }
            cells_.push_back(std::move(cells));
        }
    }

    [[nodiscard]] std::string text() const {
        const std::optional<Widths> widths = fitting(natural_widths());
        return (widths ? aligned(*widths) : expanded()) + footer();
    }

private:
    [[nodiscard]] Widths natural_widths() const {
        Widths widths;
        for (std::size_t i = 0; i < names_.size(); ++i) {
            std::size_t width = display_width(names_[i]);
            for (const Lines& cells : cells_) {
                width = std::max(width, display_width(cells[i]));
            }
            widths.push_back(width);
        }
        return widths;
    }

    [[nodiscard]] static std::size_t total(const Widths& widths) {
        return std::accumulate(widths.begin(), widths.end(), std::size_t{0}) + widths.size() * border - 1;
    }

    // The widest columns give way first; nothing when the names alone do not fit.
    [[nodiscard]] std::optional<Widths> fitting(Widths widths) const {
        while (style_.width && !widths.empty() && total(widths) > *style_.width) {
            std::size_t widest = widths.size();
            for (std::size_t i = 0; i < widths.size(); ++i) {
                const bool can_shrink = widths[i] > std::max(display_width(names_[i]), narrowest_column);
                if (can_shrink && (widest == widths.size() || widths[i] > widths[widest])) {
                    widest = i;
                }
            }
            if (widest == widths.size()) {
                return std::nullopt;
            }
            --widths[widest];
        }
        return widths;
    }

    [[nodiscard]] std::string colored(Color color, std::string_view text) const {
        if (!style_.has_color || color == Color::none) {
            return std::string(text);
        }
        return fmt::format("{}{}{}", escape_sequence(color), text, escape_sequence(Color::none));
    }

    [[nodiscard]] std::string aligned(const Widths& widths) const {
        std::string text;
        for (std::size_t i = 0; i < names_.size(); ++i) {
            const std::string space = padding(widths[i], names_[i]);
            const std::size_t left = space.size() / 2;
            const std::string name =
                space.substr(0, left) + colored(Color::bold, names_[i]) + space.substr(left);
            text += fmt::format("{} {} ", i == 0 ? "" : "|", name);
        }
        text += "\n";
        for (std::size_t i = 0; i < widths.size(); ++i) {
            text += (i == 0 ? "" : "+") + repeated(widths[i] + 2);
        }
        text += "\n";
        for (const Lines& cells : cells_) {
            text += aligned_row(cells, widths);
        }
        return text;
    }

    [[nodiscard]] std::string aligned_row(const Lines& cells, const Widths& widths) const {
        std::vector<Lines> pieces;
        std::size_t height = 1;
        for (std::size_t i = 0; i < cells.size(); ++i) {
            pieces.push_back(wrapped(cells[i], widths[i]));
            height = std::max(height, pieces.back().size());
        }
        std::string text;
        for (std::size_t line = 0; line < height; ++line) {
            for (std::size_t i = 0; i < cells.size(); ++i) {
                const std::string piece = line < pieces[i].size() ? pieces[i][line] : "";
                const std::string space = padding(widths[i], piece);
                const std::string shown = colored(color_of(names_[i], cells[i]), piece);
                const bool is_last = i + 1 == cells.size();
                text += i == 0 ? " " : "| ";
                text += rows_.is_number[i] ? space + shown : shown + (is_last ? "" : space);
                text += line + 1 < pieces[i].size() ? "." : is_last ? "" : " ";
            }
            text += "\n";
        }
        return text;
    }

    [[nodiscard]] std::string expanded() const {
        std::size_t name_width = 0;
        for (const std::string& name : names_) {
            name_width = std::max(name_width, display_width(name));
        }
        const std::size_t room = style_.width.value_or(80) > name_width + border + narrowest_column
                                     ? style_.width.value_or(80) - name_width - border
                                     : narrowest_column;
        std::string text;
        for (std::size_t row = 0; row < cells_.size(); ++row) {
            const std::string head = fmt::format("-[ RECORD {} ]", row + 1);
            text += head + repeated(head.size() < name_width + 1 ? name_width + 1 - head.size() : 0) + "+" +
                    repeated(std::min<std::size_t>(room, 40)) + "\n";
            for (std::size_t i = 0; i < names_.size(); ++i) {
                const std::string name =
                    colored(Color::bold, names_[i]) + padding(name_width, names_[i]) + " | ";
                std::string begin = name;
                for (const std::string& piece : wrapped(cells_[row][i], room)) {
                    text += begin + colored(color_of(names_[i], cells_[row][i]), piece) + "\n";
                    begin = std::string(name_width, ' ') + " | ";
                }
            }
        }
        return text;
    }

    [[nodiscard]] std::string footer() const {
        return fmt::format("({} row{})\n", cells_.size(), cells_.size() == 1 ? "" : "s");
    }

    const Rows& rows_;
    const TableStyle& style_;
    Lines names_;
    std::vector<Lines> cells_;
};

}  // namespace

std::string table_text(const Rows& rows, const TableStyle& style) {
    return Table(rows, style).text();
}

}  // namespace sliding_sync::cli
