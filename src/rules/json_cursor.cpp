#include "rules/json_cursor.hpp"

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string>

namespace sliding_sync::rules {

namespace {

/// A character of a string that is no quote, no escape, no control character, and one byte long.
bool is_plain(char c) noexcept {
    return c >= ' ' && static_cast<unsigned char>(c) < 0x80 && c != '"' && c != '\\';
}

/// How many of eight characters are plain, up to the first one that is not. A byte that is not plain gets its
/// highest bit, and may lend it to those behind it only.
std::ptrdiff_t count_plain(const char* text) noexcept {
    constexpr std::uint64_t each = 0x0101'0101'0101'0101;
    std::uint64_t eight = 0;
    std::memcpy(&eight, text, sizeof eight);
    if constexpr (std::endian::native == std::endian::big) {
        eight = __builtin_bswap64(eight);
    }
    const std::uint64_t control = eight - ' ' * each;
    const std::uint64_t quote = (eight ^ '"' * each) - each;
    const std::uint64_t escape = (eight ^ '\\' * each) - each;
    return std::countr_zero((eight | control | quote | escape) & 0x80 * each) / 8;
}

bool is_digit(char c) noexcept {
    return c >= '0' && c <= '9';
}

bool is_hex_digit(char c) noexcept {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

}  // namespace

std::string_view JsonCursor::take_value() {
    const char* const begin = at_;
    return taken(begin, skip_value());
}

std::string_view JsonCursor::take_string() noexcept {
    const char* const begin = at_;
    return taken(begin, skip_string());
}

std::string_view JsonCursor::taken(const char* begin, bool is_whole) noexcept {
    const std::string_view text(begin, is_whole ? static_cast<std::size_t>(at_ - begin) : 0);
    skip_space();
    return text;
}

bool JsonCursor::skip_value() {
    std::string closing;  // the brackets that are to come; fifteen of them need no allocation
    do {
        if (take('{')) {
            closing.push_back('}');
            if (!is_at('}')) {
                if (!skip_key()) {
                    return false;
                }
                continue;
            }
        } else if (take('[')) {
            closing.push_back(']');
            if (!is_at(']')) {
                continue;
            }
        } else if (!skip_scalar()) {
            return false;
        }
        while (!closing.empty()) {
            skip_space();
            if (skip(closing.back())) {
                closing.pop_back();
            } else if (take(',') && (closing.back() == ']' || skip_key())) {
                break;
            } else {
                return false;
            }
        }
    } while (!closing.empty());
    return true;
}

bool JsonCursor::skip_key() noexcept {
    return !take_string().empty() && take(':');
}

bool JsonCursor::skip_scalar() noexcept {
    switch (at_ == end_ ? '\0' : *at_) {
    case '"':
        return skip_string();
    case 'n':
        return skip("null");
    case 't':
        return skip("true");
    case 'f':
        return skip("false");
    case 'N':
        return skip("NaN");
    case 'I':
        return skip("Infinity");
    default:
        return skip_number();
    }
}

bool JsonCursor::skip_number() noexcept {
    const bool is_negative = skip('-');
    if (!skip('0') && !skip_digits()) {
        return is_negative && skip("Infinity");
    }
    if (skip('.') && !skip_digits()) {
        return false;
    }
    if (!skip('e') && !skip('E')) {
        return true;
    }
    if (!skip('+')) {
        skip('-');
    }
    return skip_digits();
}

bool JsonCursor::skip_digits() noexcept {
    const char* const begin = at_;
    while (at_ != end_ && is_digit(*at_)) {
        ++at_;
    }
    return at_ != begin;
}

bool JsonCursor::skip_string() noexcept {
    if (!skip('"')) {
        return false;
    }
    for (;;) {
        skip_plain();
        if (skip('"')) {
            return true;
        }
        if (!(is_at('\\') ? skip_escape() : skip_long_character())) {
            return false;
        }
    }
}

void JsonCursor::skip_plain() noexcept {
    while (end_ - at_ >= 8) {
        const auto plain = count_plain(at_);
        at_ += plain;
        if (plain < 8) {
            return;
        }
    }
    while (at_ != end_ && is_plain(*at_)) {
        ++at_;
    }
}

bool JsonCursor::skip_escape() noexcept {
    constexpr std::string_view letters = R"("\/bfnrt)";
    ++at_;
    if (!skip('u')) {
        return at_ != end_ && letters.find(*at_++) != std::string_view::npos;
    }
    for (int i = 0; i < 4; ++i) {
        if (at_ == end_ || !is_hex_digit(*at_++)) {
            return false;
        }
    }
    return true;
}

// Two to four bytes (RFC 3629).
bool JsonCursor::skip_long_character() noexcept {
    struct Form {
        unsigned char first_lead, last_lead, first_second, last_second;
        std::ptrdiff_t size;
    };
    static constexpr std::array<Form, 8> forms{{{0xC2, 0xDF, 0x80, 0xBF, 2},
                                                {0xE0, 0xE0, 0xA0, 0xBF, 3},
                                                {0xE1, 0xEC, 0x80, 0xBF, 3},
                                                {0xED, 0xED, 0x80, 0x9F, 3},
                                                {0xEE, 0xEF, 0x80, 0xBF, 3},
                                                {0xF0, 0xF0, 0x90, 0xBF, 4},
                                                {0xF1, 0xF3, 0x80, 0xBF, 4},
                                                {0xF4, 0xF4, 0x80, 0x8F, 4}}};
    const auto byte = [this](std::ptrdiff_t i) { return static_cast<unsigned char>(at_[i]); };
    for (const Form& form : forms) {
        if (end_ - at_ >= form.size && byte(0) >= form.first_lead && byte(0) <= form.last_lead) {
            bool fits = byte(1) >= form.first_second && byte(1) <= form.last_second;
            for (std::ptrdiff_t i = 2; i < form.size; ++i) {
                fits = fits && (byte(i) & 0xC0) == 0x80;
            }
            at_ += form.size;
            return fits;
        }
    }
    return false;
}

bool JsonCursor::skip(std::string_view word) noexcept {
    const bool found = std::string_view(at_, static_cast<std::size_t>(end_ - at_)).starts_with(word);
    at_ += found ? word.size() : 0;
    return found;
}

}  // namespace sliding_sync::rules
