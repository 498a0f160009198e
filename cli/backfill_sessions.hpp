// The sessions that share one run of the backfill, each in a thread of its own.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cli/run_progress.hpp"

namespace sliding_sync::cli {

/// How all sessions together have ended.
struct Outcome {
    Totals totals;  ///< of the calls that returned
    bool is_finished = false;
    bool has_lost_calls = false;  ///< some did not return: what they did is not in the totals
    std::optional<Failure> failure;
};

class BackfillSessions {
public:
    /// Connects them all, and then begins with all at once.
    BackfillSessions(const Connector& connector, const Options& options, std::string run_id,
                     std::optional<double> max_seconds);
    ~BackfillSessions();
    BackfillSessions(const BackfillSessions&) = delete;
    BackfillSessions& operator=(const BackfillSessions&) = delete;

    /// True when all have ended.
    bool wait(std::chrono::milliseconds at_most);

    [[nodiscard]] std::vector<int> pids();

    /// No further call; those that run go on.
    void stop();
    [[nodiscard]] bool is_stopping();
    void cancel(int pid);
    void cancel_all();

    [[nodiscard]] Outcome outcome();

private:
    using Clock = std::chrono::steady_clock;
    struct Worker {
        std::shared_ptr<Database> session;
        std::thread thread;
    };
    struct Outage {
        Clock::time_point began;
        std::chrono::milliseconds pause{250};
    };

    void work(Worker& worker);
    /// True when the session is to make another call.
    bool call(Worker& worker, Clock::time_point began);
    bool take(const Rows& rows);
    void fail(Failure failure);
    /// Waits, then connects again. False when there is no use in it.
    bool reconnect(Worker& worker, const std::string& why, std::optional<Outage>& outage);
    [[nodiscard]] std::string statement() const;
    [[nodiscard]] std::shared_ptr<Database> connect() const;

    const Connector& connector_;
    const Options& options_;
    std::string run_id_;
    std::optional<double> max_seconds_;
    Clock::time_point began_ = Clock::now();
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<Worker> workers_;
    std::size_t working_ = 0;
    bool is_stopping_ = false;
    bool is_outage_told_ = false;
    Outcome outcome_;
};

}  // namespace sliding_sync::cli
