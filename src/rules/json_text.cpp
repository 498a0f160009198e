#include "rules/json_text.hpp"

#include <cstdint>

namespace sliding_sync::rules::json_text {

namespace {

std::uint32_t code_unit(std::string_view four_digits) noexcept {
    std::uint32_t unit = 0;
    for (const char digit : four_digits) {
        const int value = digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10;
        unit = unit * 16 + static_cast<std::uint32_t>(value);
    }
    return unit;
}

bool is_high_surrogate(std::uint32_t unit) noexcept {
    return unit >= 0xD800 && unit < 0xDC00;
}
bool is_low_surrogate(std::uint32_t unit) noexcept {
    return unit >= 0xDC00 && unit < 0xE000;
}

void append(std::string& text, std::uint32_t character) {
    const auto add = [&](std::uint32_t byte) { text.push_back(static_cast<char>(byte)); };
    const auto add_rest = [&](std::uint32_t shift) { add(0x80 | (character >> shift & 0x3F)); };
    if (character < 0x80) {
        add(character);
    } else if (character < 0x800) {
        add(0xC0 | character >> 6);
        add_rest(0);
    } else if (character < 0x10000) {
        add(0xE0 | character >> 12);
        add_rest(6);
        add_rest(0);
    } else {
        add(0xF0 | character >> 18);
        add_rest(12);
        add_rest(6);
        add_rest(0);
    }
}

/// Takes the four digits of an escaped character off the front, and those of its second half. False for half
/// a character.
bool take_unicode_escape(std::string_view& left, std::string& text) {
    std::uint32_t character = code_unit(left.substr(0, 4));
    left.remove_prefix(4);
    if (is_high_surrogate(character) && left.starts_with(R"(\u)")) {
        const std::uint32_t second = code_unit(left.substr(2, 4));
        if (is_low_surrogate(second)) {
            left.remove_prefix(6);
            append(text, 0x10000 + ((character - 0xD800) << 10) + (second - 0xDC00));
            return true;
        }
    }
    if (is_high_surrogate(character) || is_low_surrogate(character)) {
        return false;
    }
    append(text, character);
    return true;
}

}  // namespace

bool is_key(std::string_view string, std::string_view key) {
    const std::string_view inside = string.substr(1, string.size() - 2);
    // an escape is longer than what it stands for
    return inside == key || (inside.size() > key.size() && inside.find('\\') != std::string_view::npos &&
                             unescaped(string) == key);
}

std::optional<std::string> unescaped(std::string_view value) {
    if (!value.starts_with('"')) {
        return std::nullopt;
    }
    std::string result;
    std::string_view left = value.substr(1, value.size() - 2);
    for (auto escape = left.find('\\'); escape != std::string_view::npos; escape = left.find('\\')) {
        result.append(left.substr(0, escape));
        const char letter = left[escape + 1];
        left.remove_prefix(escape + 2);
        if (letter != 'u') {
            constexpr std::string_view letters = "bfnrt";
            const auto control = letters.find(letter);
            result.push_back(control == std::string_view::npos ? letter : "\b\f\n\r\t"[control]);
        } else if (!take_unicode_escape(left, result)) {
            return std::nullopt;
        }
    }
    return result.append(left);
}

}  // namespace sliding_sync::rules::json_text
