// SQL text of a call with named arguments: what is run, echoed, and printed by a dry run is the same.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sliding_sync::cli {

/// As PQescapeLiteral writes it: right whatever standard_conforming_strings says.
[[nodiscard]] std::string sql_literal(std::string_view text);

class SqlCall {
public:
    /// `head` is what stands before the bracket: "SELECT * FROM sliding_sync.verify".
    explicit SqlCall(std::string_view head) : text_(head) {}

    SqlCall& argument(std::string_view name, const std::optional<std::string>& value);
    SqlCall& argument(std::string_view name, const std::string& value);
    SqlCall& argument(std::string_view name, const char* value);
    SqlCall& argument(std::string_view name, bool value);
    SqlCall& argument(std::string_view name, double value);
    SqlCall& argument(std::string_view name, long long value);
    /// A value that is SQL already.
    SqlCall& expression(std::string_view name, std::string_view sql);

    [[nodiscard]] std::string text() const;

private:
    std::string text_;
    std::string arguments_;
};

}  // namespace sliding_sync::cli
