// Ctrl-C and SIGTERM, taken in by a thread of their own, so that what they set off may do anything.
#pragma once

#include <functional>
#include <mutex>
#include <thread>

namespace sliding_sync::cli {

class Interrupts {
public:
    /// Gets 1 for the first signal, then 2 and so on.
    using Handler = std::function<void(int)>;

    /// Call it before any other thread begins: these inherit that the signals are not theirs.
    void start();

    /// While it lives, its handler acts in place of the one before. Without any, a signal ends the program.
    class Scope {
    public:
        explicit Scope(Handler handler);
        ~Scope();
        Scope(const Scope&) = delete;
        Scope& operator=(const Scope&) = delete;

    private:
        Handler before_;
    };

    [[nodiscard]] int count() const;

    /// Past all destructors: sessions of a program that is gone are ended by the server.
    [[noreturn]] void exit_now();

private:
    void wait();

    mutable std::recursive_mutex mutex_;
    Handler handler_;
    int count_ = 0;
};

[[nodiscard]] Interrupts& interrupts();

}  // namespace sliding_sync::cli
