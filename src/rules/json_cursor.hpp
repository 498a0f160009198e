// Goes through a JSON text from value to value, and takes just what Python's json takes: NaN, Infinity and
// -Infinity are numbers, numbers have any size, a surrogate may be escaped alone; all is UTF-8, and no byte
// order mark stands in front. Private to the JSON rules.
//
// Nesting is a loop: a level costs a byte, and no depth is too deep.
#pragma once

#include <cstddef>
#include <string_view>

namespace sliding_sync::rules {

class JsonCursor {
public:
    explicit JsonCursor(std::string_view text) noexcept : at_(text.data()), end_(text.data() + text.size()) {
        skip_space();
    }

    /// Each goes past what it takes and the space behind it. Empty, or false, where that is not there or is
    /// broken: then nothing more may be taken.
    [[nodiscard]] std::string_view take_value();
    [[nodiscard]] std::string_view take_string() noexcept;
    [[nodiscard]] bool take(char sign) noexcept {
        const bool found = skip(sign);
        skip_space();
        return found;
    }

    [[nodiscard]] bool at_end() const noexcept {
        return at_ == end_;
    }

private:
    [[nodiscard]] bool is_at(char sign) const noexcept {
        return at_ != end_ && *at_ == sign;
    }
    [[nodiscard]] std::string_view taken(const char* begin, bool is_whole) noexcept;

    bool skip(char sign) noexcept {
        const bool found = is_at(sign);
        at_ += found ? 1 : 0;
        return found;
    }
    bool skip(std::string_view word) noexcept;
    void skip_space() noexcept {
        while (at_ != end_ && *at_ <= ' ' && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) {
            ++at_;
        }
    }
    [[nodiscard]] bool skip_value();
    [[nodiscard]] bool skip_key() noexcept;
    [[nodiscard]] bool skip_scalar() noexcept;
    [[nodiscard]] bool skip_number() noexcept;
    [[nodiscard]] bool skip_digits() noexcept;
    [[nodiscard]] bool skip_string() noexcept;
    void skip_plain() noexcept;
    [[nodiscard]] bool skip_escape() noexcept;
    [[nodiscard]] bool skip_long_character() noexcept;

    const char* at_;
    const char* end_;
};

}  // namespace sliding_sync::rules
