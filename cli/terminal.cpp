#include "cli/terminal.hpp"

#include <cstdlib>
#include <sys/ioctl.h>
#include <unistd.h>

namespace sliding_sync::cli {

std::optional<TerminalSize> terminal_size(int descriptor) {
    winsize size{};
    if (::isatty(descriptor) == 0) {
        return std::nullopt;
    }
    if (::ioctl(descriptor, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) {
        return TerminalSize{80, 24};
    }
    return TerminalSize{size.ws_col, size.ws_row};
}

bool wants_color(std::string_view wish, int descriptor) {
    if (wish != "auto") {
        return wish == "always";
    }
    const char* refused = std::getenv("NO_COLOR");
    return ::isatty(descriptor) != 0 && (refused == nullptr || *refused == '\0');
}

std::string_view escape_sequence(Color color) noexcept {
    switch (color) {
    case Color::red:
        return "\033[31m";
    case Color::yellow:
        return "\033[33m";
    case Color::green:
        return "\033[32m";
    case Color::bold:
        return "\033[1m";
    case Color::dim:
        return "\033[2m";
    case Color::none:
        break;
    }
    return "\033[0m";
}

}  // namespace sliding_sync::cli
