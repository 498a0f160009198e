// Parts of a JSON text, each a piece of that text: nothing is built, nothing copied. Private to the JSON
// rules.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "rules/json_cursor.hpp"

namespace sliding_sync::rules::json_text {

/// `visit(std::string_view key, std::string_view value)` for each field of an object, in its order. False
/// when the text is anything but one valid object: what was visited until then must be forgotten.
template <class Visit>
[[nodiscard]] bool each_field(std::string_view object, Visit&& visit) {
    JsonCursor cursor(object);
    if (!cursor.take('{')) {
        return false;
    }
    if (!cursor.take('}')) {
        do {
            const std::string_view key = cursor.take_string();
            const bool has_colon = cursor.take(':');
            const std::string_view value = cursor.take_value();
            if (key.empty() || !has_colon || value.empty()) {
                return false;
            }
            visit(key, value);
        } while (cursor.take(','));
        if (!cursor.take('}')) {
            return false;
        }
    }
    return cursor.at_end();
}

/// `each_field` for the elements of a list: `visit(std::string_view element)`.
template <class Visit>
[[nodiscard]] bool each_element(std::string_view list, Visit&& visit) {
    JsonCursor cursor(list);
    if (!cursor.take('[')) {
        return false;
    }
    if (!cursor.take(']')) {
        do {
            const std::string_view element = cursor.take_value();
            if (element.empty()) {
                return false;
            }
            visit(element);
        } while (cursor.take(','));
        if (!cursor.take(']')) {
            return false;
        }
    }
    return cursor.at_end();
}

/// True when a string, unescaped, is the key.
[[nodiscard]] bool is_key(std::string_view string, std::string_view key);

/// What stands behind each of the keys, the last time where it stands there several times. Empty where a key
/// is not there, and all of them when the text is anything but one valid object.
template <std::size_t count>
[[nodiscard]] std::array<std::string_view, count>
last_fields(std::string_view object, const std::array<std::string_view, count>& keys) {
    std::array<std::string_view, count> last;
    const bool is_object = each_field(object, [&](std::string_view string, std::string_view value) {
        for (std::size_t i = 0; i < count; ++i) {
            if (is_key(string, keys[i])) {
                last[i] = value;
            }
        }
    });
    return is_object ? last : std::array<std::string_view, count>{};
}

[[nodiscard]] inline std::string_view last_field(std::string_view object, std::string_view key) {
    return last_fields<1>(object, {key}).front();
}

/// A valid string, in UTF-8; nothing when it has a lone surrogate, which UTF-8 cannot express, and for any
/// other value.
[[nodiscard]] std::optional<std::string> unescaped(std::string_view value);

}  // namespace sliding_sync::rules::json_text
