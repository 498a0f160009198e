#include "cli/sql.hpp"

#include <fmt/format.h>

namespace sliding_sync::cli {

std::string sql_literal(std::string_view text) {
    const bool has_backslash = text.find('\\') != std::string_view::npos;
    std::string literal = has_backslash ? " E'" : "'";
    for (const char sign : text) {
        if (sign == '\'' || sign == '\\') {
            literal += sign;
        }
        literal += sign;
    }
    return literal + '\'';
}

SqlCall& SqlCall::argument(std::string_view name, const std::string& value) {
    return expression(name, sql_literal(value));
}

SqlCall& SqlCall::argument(std::string_view name, const std::optional<std::string>& value) {
    return value ? expression(name, sql_literal(*value)) : *this;
}

SqlCall& SqlCall::argument(std::string_view name, const char* value) {
    return expression(name, sql_literal(value));
}

SqlCall& SqlCall::argument(std::string_view name, bool value) {
    return expression(name, value ? "true" : "false");
}

SqlCall& SqlCall::argument(std::string_view name, double value) {
    return expression(name, fmt::format("{}", value));
}

SqlCall& SqlCall::argument(std::string_view name, long long value) {
    return expression(name, fmt::format("{}", value));
}

SqlCall& SqlCall::expression(std::string_view name, std::string_view sql) {
    arguments_ += fmt::format("{}{} => {}", arguments_.empty() ? "" : ", ", name, sql);
    return *this;
}

std::string SqlCall::text() const {
    return fmt::format("{}({})", text_, arguments_);
}

}  // namespace sliding_sync::cli
