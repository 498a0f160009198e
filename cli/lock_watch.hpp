// Whom a statement waits for, told while it waits.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "cli/database.hpp"

namespace sliding_sync::cli {

class LockWatch {
public:
    /// Looks in a session of its own for whoever blocks the session `pid`.
    LockWatch(std::unique_ptr<Database> session, int pid);
    ~LockWatch();
    LockWatch(const LockWatch&) = delete;
    LockWatch& operator=(const LockWatch&) = delete;

private:
    void watch();
    void tell(const Rows& blockers);

    std::unique_ptr<Database> session_;
    int pid_;
    std::string told_;
    std::mutex mutex_;
    std::condition_variable ends_;
    bool has_ended_ = false;
    std::thread thread_;
};

}  // namespace sliding_sync::cli
