#include "cli/password.hpp"

#include <cstdio>
#include <fmt/format.h>
#include <memory>
#include <termios.h>

#include "cli/exit_code.hpp"
#include "cli/interrupts.hpp"

namespace sliding_sync::cli {

namespace {

struct CloseFile {
    void operator()(std::FILE* file) const noexcept {
        std::fclose(file);
    }
};

class HiddenInput {
public:
    explicit HiddenInput(int descriptor) : descriptor_(descriptor) {
        ::tcgetattr(descriptor_, &before_);
        termios hidden = before_;
        hidden.c_lflag &= ~static_cast<tcflag_t>(ECHO);
        ::tcsetattr(descriptor_, TCSAFLUSH, &hidden);
    }
    ~HiddenInput() {
        ::tcsetattr(descriptor_, TCSAFLUSH, &before_);
    }
    HiddenInput(const HiddenInput&) = delete;
    HiddenInput& operator=(const HiddenInput&) = delete;

    void restore() const {
        ::tcsetattr(descriptor_, TCSAFLUSH, &before_);
    }

private:
    int descriptor_;
    termios before_{};
};

}  // namespace

std::string ask_password(const std::string& user) {
    const std::unique_ptr<std::FILE, CloseFile> terminal(std::fopen("/dev/tty", "r+"));
    if (!terminal) {
        throw Failure(
            ExitCode::error, "a password is needed, and there is no terminal to ask for it", {},
            "Write it into ~/.pgpass, or name the homeserver's own configuration with --synapse-config.");
    }
    fmt::print(terminal.get(), "Password{}: ", user.empty() ? "" : " for user " + user);
    std::fflush(terminal.get());
    const HiddenInput hidden(::fileno(terminal.get()));
    const Interrupts::Scope visible_again([&](int) {
        hidden.restore();
        interrupts().exit_now();
    });
    std::string password;
    for (int sign = std::fgetc(terminal.get()); sign != EOF && sign != '\n';
         sign = std::fgetc(terminal.get())) {
        password += static_cast<char>(sign);
    }
    fmt::print(terminal.get(), "\n");
    return password;
}

}  // namespace sliding_sync::cli
