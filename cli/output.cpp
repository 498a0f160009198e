#include "cli/output.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <unistd.h>

#include "cli/exit_code.hpp"
#include "cli/interrupts.hpp"
#include "cli/terminal.hpp"

namespace sliding_sync::cli {

namespace {

std::string pager() {
    for (const char* variable : {"PSQL_PAGER", "PAGER"}) {
        if (const char* value = std::getenv(variable)) {
            return std::strspn(value, " \t\r\n") == std::strlen(value) ? "" : value;
        }
    }
    return "more";
}

bool is_longer_than_screen(const std::string& text) {
    const auto size = terminal_size(STDOUT_FILENO);
    return size && static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) >= size->lines;
}

}  // namespace

void print_paged(const std::string& text) {
    const std::string command = is_longer_than_screen(text) ? pager() : "";
    if (!command.empty()) {
        const Interrupts::Scope left_to_the_pager([](int) {});
        if (std::FILE* reader = ::popen(command.c_str(), "w")) {
            std::fwrite(text.data(), 1, text.size(), reader);  // who quits early has seen enough
            ::pclose(reader);
            return;
        }
    }
    std::fwrite(text.data(), 1, text.size(), stdout);
    flush_output();
}

void print_line(std::string_view line) {
    std::fwrite(line.data(), 1, line.size(), stdout);
    std::fputc('\n', stdout);
    flush_output();
}

void flush_output() {
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
        throw Failure(ExitCode::error,
                      fmt::format("could not write to standard output: {}", std::strerror(errno)));
    }
}

}  // namespace sliding_sync::cli
