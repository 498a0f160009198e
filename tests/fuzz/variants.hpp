// Documents made from another one, of which is known what they must say.
#pragma once

#include <string>
#include <string_view>

namespace sliding_sync::fuzz {

inline constexpr std::string_view json_space = " \t\n\r";

/// The document with one more field at the end of its object. `document` must be readable.
[[nodiscard]] inline std::string with_field(std::string_view document, std::string_view field) {
    std::string text(document.substr(0, document.find_last_not_of(json_space)));  // without the last brace
    const bool empty = text.find_last_not_of(json_space) == text.find_first_not_of(json_space);
    return text.append(empty ? "" : ",").append(field).append("}");
}

}  // namespace sliding_sync::fuzz
