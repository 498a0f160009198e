#include "cli/interrupts.hpp"

#include <csignal>
#include <unistd.h>

#include "cli/console.hpp"
#include "cli/exit_code.hpp"

namespace sliding_sync::cli {

void Interrupts::start() {
    // of the pager: a reader who has seen enough is no error of ours
    std::signal(SIGPIPE, SIG_IGN);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::thread([this] { wait(); }).detach();
}

void Interrupts::wait() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    while (true) {
        int signal = 0;
        if (::sigwait(&signals, &signal) != 0) {
            continue;
        }
        const std::lock_guard lock(mutex_);
        ++count_;
        if (!handler_) {
            exit_now();
        }
        handler_(count_);
    }
}

int Interrupts::count() const {
    const std::lock_guard lock(mutex_);
    return count_;
}

void Interrupts::exit_now() {
    console().show_status("");
    ::_exit(static_cast<int>(ExitCode::interrupted));
}

Interrupts::Scope::Scope(Handler handler) {
    const std::lock_guard lock(interrupts().mutex_);
    before_ = std::exchange(interrupts().handler_, std::move(handler));
}

Interrupts::Scope::~Scope() {
    const std::lock_guard lock(interrupts().mutex_);
    interrupts().handler_ = std::move(before_);
}

Interrupts& interrupts() {
    static auto* const only = new Interrupts;  // its thread outlives main()
    return *only;
}

}  // namespace sliding_sync::cli
