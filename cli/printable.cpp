#include "cli/printable.hpp"

#include <algorithm>
#include <clocale>
#include <cwchar>
#include <fmt/format.h>
#include <langinfo.h>

namespace sliding_sync::cli {

namespace {

struct Character {
    std::size_t length = 0;  ///< bytes; 0: no UTF-8 begins here
    char32_t code = 0;
};

std::size_t sequence_length(unsigned char first) {
    if (first < 0x80) {
        return 1;
    }
    if (first >= 0xC2 && first < 0xE0) {
        return 2;
    }
    if (first >= 0xE0 && first < 0xF0) {
        return 3;
    }
    return first >= 0xF0 && first < 0xF5 ? 4 : 0;
}

Character first_character(std::string_view text) {
    const auto first = static_cast<unsigned char>(text.front());
    const std::size_t length = sequence_length(first);
    if (length == 0 || length > text.size()) {
        return {};
    }
    char32_t code = length == 1 ? first : first & (0x7FU >> length);
    for (std::size_t i = 1; i < length; ++i) {
        const auto next = static_cast<unsigned char>(text[i]);
        if ((next & 0xC0U) != 0x80U) {
            return {};
        }
        code = (code << 6U) | (next & 0x3FU);
    }
    return {length, code};
}

int width_of(char32_t code) {
    return std::max(::wcwidth(static_cast<wchar_t>(code)), 0);
}

// Control characters, and those that turn the direction of the text around them.
bool is_harmless(char32_t code) {
    const bool is_control = code < 0x20 || (code >= 0x7F && code < 0xA0);
    const bool is_direction = (code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
    return !is_control && !is_direction && code != 0x2028 && code != 0x2029;
}

std::string escaped(std::string_view bytes, char32_t code) {
    if (code == U'\n' || code == U'\t' || code == U'\r') {
        return code == U'\n' ? "\\n" : code == U'\t' ? "\\t" : "\\r";
    }
    if (code > 0xFF) {
        return fmt::format("\\u{:04X}", static_cast<unsigned>(code));
    }
    return fmt::format("\\x{:02X}", code != 0 ? static_cast<unsigned>(code)
                                              : static_cast<unsigned>(static_cast<unsigned char>(bytes[0])));
}

std::string printable_but(std::string_view text, std::string_view kept) {
    std::string result;
    result.reserve(text.size());
    while (!text.empty()) {
        const Character next = first_character(text);
        const std::size_t length = std::max<std::size_t>(next.length, 1);
        const std::string_view bytes = text.substr(0, length);
        if (next.length != 0 && (is_harmless(next.code) || kept.find(bytes) != std::string_view::npos)) {
            result += bytes;
        } else {
            result += escaped(bytes, next.code);
        }
        text.remove_prefix(length);
    }
    return result;
}

}  // namespace

void use_locale() {
    // Messages stay as they are: what libpq says is taken apart.
    if (std::setlocale(LC_CTYPE, "") == nullptr || std::string_view(::nl_langinfo(CODESET)) != "UTF-8") {
        std::setlocale(LC_CTYPE, "C.UTF-8");
    }
}

std::string printable(std::string_view text) {
    return printable_but(text, {});
}

std::string printable_lines(std::string_view text) {
    return printable_but(text, "\n\t");
}

std::size_t display_width(std::string_view text) {
    std::size_t width = 0;
    while (!text.empty()) {
        const Character next = first_character(text);
        width += static_cast<std::size_t>(width_of(next.code));
        text.remove_prefix(std::max<std::size_t>(next.length, 1));
    }
    return width;
}

std::vector<std::string> wrapped(std::string_view text, std::size_t width) {
    std::vector<std::string> lines(1);
    std::size_t used = 0;
    while (!text.empty()) {
        const Character next = first_character(text);
        const auto needed = static_cast<std::size_t>(width_of(next.code));
        const std::size_t length = std::max<std::size_t>(next.length, 1);
        if (used + needed > width && used > 0) {
            lines.emplace_back();
            used = 0;
        }
        lines.back() += text.substr(0, length);
        used += needed;
        text.remove_prefix(length);
    }
    return lines;
}

std::string shortened(std::string_view text, std::size_t width) {
    if (display_width(text) <= width) {
        return std::string(text);
    }
    return wrapped(text, std::max<std::size_t>(width, 4) - 3).front() + "...";
}

std::string grouped(std::int64_t value) {
    const std::string digits = std::to_string(value);
    std::string text;
    for (std::size_t i = 0; i < digits.size(); ++i) {
        const std::size_t behind = digits.size() - i;
        if (i > 0 && behind % 3 == 0 && digits[i - 1] != '-') {
            text += ',';
        }
        text += digits[i];
    }
    return text;
}

}  // namespace sliding_sync::cli
