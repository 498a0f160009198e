#include "cli/lock_watch.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <unistd.h>

#include "cli/printable.hpp"
#include "cli/terminal.hpp"

namespace sliding_sync::cli {

namespace {

// The server's attempts to lock last 60 to 700 ms.
constexpr std::chrono::milliseconds interval{100};
constexpr std::size_t width_without_terminal = 240;

// pg_blocking_pids() says 0 for a prepared transaction.
constexpr const char* blockers_of = R"(
SELECT b.pid, coalesce(a.usename, '?') AS role, a.xact_start::pg_catalog.timestamp(0) AS since,
       extract(epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) a.xact_start)::pg_catalog.int8
           AS seconds,
       coalesce(a.query, '') AS query
FROM (SELECT DISTINCT pg_catalog.unnest(pg_catalog.pg_blocking_pids({})) AS pid) b
    LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) b.pid
ORDER BY a.xact_start LIMIT 1)";

std::string one_line(std::string text) {
    std::replace_if(
        text.begin(), text.end(), [](char sign) { return sign == '\n' || sign == '\t'; }, ' ');
    return printable(text);
}

std::string description(const Rows& blockers) {
    if (*blockers.at(0, "pid") == "0") {
        return "waiting for a prepared transaction that holds a lock (pg_prepared_xacts)";
    }
    return fmt::format("waiting for session {} (role {}), in its transaction since {}",
                       *blockers.at(0, "pid"), *blockers.at(0, "role"),
                       blockers.at(0, "since").value_or("?"));
}

}  // namespace

LockWatch::LockWatch(std::unique_ptr<Database> session, int pid)
    : session_(std::move(session)), pid_(pid), thread_([this] { watch(); }) {}

LockWatch::~LockWatch() {
    {
        const std::lock_guard lock(mutex_);
        has_ended_ = true;
    }
    ends_.notify_all();
    thread_.join();
    console().show_status("");
}

void LockWatch::watch() {
    try {
        const std::string sql = fmt::format(blockers_of, pid_);
        std::unique_lock lock(mutex_);
        while (!ends_.wait_for(lock, interval, [this] { return has_ended_; })) {
            lock.unlock();
            const Rows blockers = session_->run(sql);
            if (!blockers.values.empty()) {
                tell(blockers);
            }
            lock.lock();
        }
    } catch (const std::exception&) {  // then nothing is told; the statement itself says how it ends
    }
}

void LockWatch::tell(const Rows& blockers) {
    const std::string who = description(blockers);
    const std::string query = one_line(blockers.at(0, "query").value_or(""));
    if (const auto size = terminal_size(STDERR_FILENO)) {
        const std::string seconds =
            blockers.at(0, "seconds") ? " (" + *blockers.at(0, "seconds") + " s)" : "";
        console().show_status(shortened(who + seconds + ": " + query,
                                        std::max<std::size_t>(size->columns, 8) - 3)  // room for ^C
        );
    } else if (who != told_) {
        console().say(shortened(who + ": " + query, width_without_terminal));
    }
    told_ = who;
}

}  // namespace sliding_sync::cli
