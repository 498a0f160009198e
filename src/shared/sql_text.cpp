#include "shared/sql_text.hpp"

#include <algorithm>

namespace sliding_sync {

std::string sql_text(std::string_view text, std::string_view schema) {
    constexpr std::string_view operator_characters = "=<>+-*/%&|";
    std::string result;
    result.reserve(text.size() * 2);
    while (true) {
        const std::size_t mark = std::min(text.find('%'), text.size());
        result += text.substr(0, mark);
        if (mark == text.size()) {
            return result;
        }
        text.remove_prefix(mark + 1);
        if (text.starts_with('S')) {
            result += schema;
            text.remove_prefix(1);
            continue;
        }
        const std::size_t length = std::min(text.find_first_not_of(operator_characters), text.size());
        result.append("OPERATOR(pg_catalog.").append(text.substr(0, length)) += ')';
        text.remove_prefix(length);
    }
}

}  // namespace sliding_sync
