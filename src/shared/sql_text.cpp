#include "shared/sql_text.hpp"

namespace sliding_sync {

std::string sql_text(std::string_view text, std::string_view schema) {
    constexpr std::string_view operator_characters = "=<>+-*/%&|";
    std::string result;
    result.reserve(text.size() * 2);
    for (std::size_t i = 0; i < text.size();) {
        if (text[i] != '%') {
            result += text[i++];
            continue;
        }
        ++i;
        if (i < text.size() && text[i] == 'S') {
            result += schema;
            ++i;
            continue;
        }
        result += "OPERATOR(pg_catalog.";
        while (i < text.size() && operator_characters.find(text[i]) != std::string_view::npos) {
            result += text[i++];
        }
        result += ')';
    }
    return result;
}

}  // namespace sliding_sync
