// Where standard output and standard error lead.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace sliding_sync::cli {

struct TerminalSize {
    std::size_t columns = 0;
    std::size_t lines = 0;
};

/// Nothing when this file descriptor is no terminal.
[[nodiscard]] std::optional<TerminalSize> terminal_size(int descriptor);

enum class Color { none, red, yellow, green, bold, dim };

/// `wish` is auto, always or never; auto is a terminal whose user has not set NO_COLOR.
[[nodiscard]] bool wants_color(std::string_view wish, int descriptor);

/// What switches to this colour; that of `none` switches back.
[[nodiscard]] std::string_view escape_sequence(Color color) noexcept;

}  // namespace sliding_sync::cli
