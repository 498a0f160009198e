#include "cli/console.hpp"

#include <cstdio>
#include <fmt/format.h>

#include "cli/printable.hpp"

namespace sliding_sync::cli {

void Console::print(const Message& message) {
    std::string text = fmt::format("sliding-sync: {}: {}\n", message.severity, printable_lines(message.text));
    if (!message.detail.empty()) {
        text += fmt::format("sliding-sync: detail: {}\n", printable_lines(message.detail));
    }
    if (!message.hint.empty()) {
        text += fmt::format("sliding-sync: hint: {}\n", printable_lines(message.hint));
    }
    const std::lock_guard lock(mutex_);
    if (quiet_ && message.severity == "notice") {
        return;
    }
    erase_status();
    std::fputs(text.c_str(), stderr);
    draw_status();
}

void Console::say(std::string_view line) {
    if (!quiet_) {
        echo(fmt::format("sliding-sync: {}", line));
    }
}

void Console::echo(std::string_view line) {
    const std::lock_guard lock(mutex_);
    erase_status();
    fmt::print(stderr, "{}\n", line);
    draw_status();
}

void Console::show_status(std::string_view line) {
    const std::lock_guard lock(mutex_);
    erase_status();
    status_ = line;
    draw_status();
    std::fflush(stderr);
}

void Console::erase_status() {
    if (is_drawn_) {
        std::fputs("\r\033[K", stderr);
        is_drawn_ = false;
    }
}

void Console::draw_status() {
    if (!status_.empty()) {
        std::fputs(status_.c_str(), stderr);
        is_drawn_ = true;
    }
}

Console& console() {
    static Console only;
    return only;
}

}  // namespace sliding_sync::cli
