// Values of derived rows as text: how verify() and explain_room() show them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace sliding_sync {

using Text = std::optional<std::string>;

inline Text text(const Text& value) {
    return value;
}
inline Text text(const std::string& value) {
    return value;
}
inline Text text(std::int64_t value) {
    return std::to_string(value);
}
inline Text text(const std::optional<std::int64_t>& value) {
    return value ? Text(std::to_string(*value)) : std::nullopt;
}
inline Text text(std::int32_t value) {
    return std::to_string(value);
}
inline Text text(bool value) {
    return value ? "true" : "false";
}

}  // namespace sliding_sync
