#include "cli/backfill_sessions.hpp"

#include <algorithm>
#include <fmt/format.h>

#include "cli/statements.hpp"

namespace sliding_sync::cli {

namespace {

using namespace std::chrono_literals;

constexpr auto longest_pause = 10s;
// An outage is over when a session has worked for so long.
constexpr auto stable_after = 5s;

constexpr const char* undefined_object = "42704";

// The run is gone.
Failure begun_anew() {
    return {ExitCode::error, "somebody else has begun this run anew",
            "Another call of backfill for the same rooms said restart, or tables were changed without the "
            "triggers."};
}

std::int64_t number(const Rows& rows, std::string_view column) {
    return std::stoll(rows.at(0, column).value_or("0"));
}

}  // namespace

BackfillSessions::BackfillSessions(const Connector& connector, const Options& options, std::string run_id,
                                   std::optional<double> max_seconds)
    : connector_(connector), options_(options), run_id_(std::move(run_id)), max_seconds_(max_seconds),
      workers_(static_cast<std::size_t>(options.jobs)) {
    for (Worker& worker : workers_) {
        worker.session = connect();
    }
    working_ = workers_.size();
    for (Worker& worker : workers_) {
        worker.thread = std::thread([this, &worker] { work(worker); });
    }
}

BackfillSessions::~BackfillSessions() {
    stop();
    cancel_all();
    for (Worker& worker : workers_) {
        worker.thread.join();
    }
}

std::shared_ptr<Database> BackfillSessions::connect() const {
    std::shared_ptr<Database> session = connector_.open();
    try {
        // when this program is killed, its sessions notice, and end
        session->run("SET client_connection_check_interval = '1s'");
    } catch (const ServerError&) {  // a server that cannot: they go on to the end of the run
    }
    return session;
}

std::string BackfillSessions::statement() const {
    Options options = options_;
    if (max_seconds_) {
        const double gone = std::chrono::duration<double>(Clock::now() - began_).count();
        options.max_duration = fmt::format("{:.3f} seconds", std::max(*max_seconds_ - gone, 0.001));
    }
    return backfill_statement(options, run_id_);
}

void BackfillSessions::work(Worker& worker) {
    std::optional<Outage> outage;
    bool goes_on = true;
    while (goes_on) {
        const auto began = Clock::now();
        try {
            goes_on = call(worker, began);
        } catch (const ConnectionLost& error) {
            if (outage && Clock::now() - began > stable_after) {
                outage.reset();
            }
            goes_on = reconnect(worker, error.what(), outage);
        } catch (const Failure& failure) {
            fail(failure);
            goes_on = false;
        } catch (const std::exception& error) {
            fail(Failure(ExitCode::error, error.what()));
            goes_on = false;
        }
    }
    const std::lock_guard lock(mutex_);
    worker.session.reset();
    --working_;
    changed_.notify_all();
}

bool BackfillSessions::call(Worker& worker, Clock::time_point began) {
    {
        const std::lock_guard lock(mutex_);
        const bool is_over =
            max_seconds_ && std::chrono::duration<double>(began - began_).count() > *max_seconds_;
        if (is_stopping_ || outcome_.is_finished || is_over) {
            return false;
        }
    }
    const std::string sql = statement();
    if (options_.echo) {
        console().echo(sql + ";");
    }
    try {
        return take(worker.session->run(sql));
    } catch (const ServerError& error) {
        const std::lock_guard lock(mutex_);
        outcome_.has_lost_calls = true;
        if (is_stopping_) {
            return false;  // cancelled by us
        }
        throw error.sqlstate == undefined_object ? begun_anew() : failure_of(error);
    }
}

bool BackfillSessions::take(const Rows& rows) {
    const std::lock_guard lock(mutex_);
    outcome_.totals += {number(rows, "joined_rooms"), number(rows, "memberships"),
                        number(rows, "rows_written"), number(rows, "quarantined")};
    if (rows.at(0, "is_finished") == "t") {
        outcome_.is_finished = true;
        return false;
    }
    if (max_seconds_ || is_stopping_) {
        return false;
    }
    throw begun_anew();
}

void BackfillSessions::fail(Failure failure) {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
    if (!outcome_.failure) {
        outcome_.failure = std::move(failure);
    }
    changed_.notify_all();
}

bool BackfillSessions::reconnect(Worker& worker, const std::string& why, std::optional<Outage>& outage) {
    std::unique_lock lock(mutex_);
    outcome_.has_lost_calls = true;
    worker.session.reset();
    if (!outage) {
        outage = Outage{Clock::now()};
    }
    if (!is_outage_told_ && !is_stopping_ && options_.retry_seconds > 0) {
        is_outage_told_ = true;
        console().print({"warning",
                         "lost a session: " + why,
                         fmt::format("Trying again for {:g} s.", options_.retry_seconds),
                         {}});
    }
    std::string last = why;
    const auto deadline = outage->began + std::chrono::duration<double>(options_.retry_seconds);
    while (!is_stopping_ && !outcome_.is_finished && Clock::now() < deadline) {
        changed_.wait_for(lock, outage->pause, [this] { return is_stopping_ || outcome_.is_finished; });
        outage->pause = std::min<std::chrono::milliseconds>(outage->pause * 2, longest_pause);
        if (is_stopping_ || outcome_.is_finished) {
            return false;
        }
        lock.unlock();
        std::shared_ptr<Database> session;
        try {
            session = connect();
        } catch (const ConnectionLost& error) {
            last = error.what();
        }
        lock.lock();
        if (session) {
            worker.session = std::move(session);
            if (is_outage_told_) {
                is_outage_told_ = false;
                const double seconds = std::chrono::duration<double>(Clock::now() - outage->began).count();
                console().say(fmt::format("connected again after {:.1f} s, going on", seconds));
            }
            return true;
        }
    }
    if (!is_stopping_ && !outcome_.is_finished) {
        lock.unlock();
        fail(Failure(ExitCode::error, last));
    }
    return false;
}

bool BackfillSessions::wait(std::chrono::milliseconds at_most) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, at_most, [this] { return working_ == 0; });
}

std::vector<int> BackfillSessions::pids() {
    const std::lock_guard lock(mutex_);
    std::vector<int> found;
    for (const Worker& worker : workers_) {
        if (worker.session) {
            found.push_back(worker.session->pid());
        }
    }
    return found;
}

void BackfillSessions::stop() {
    const std::lock_guard lock(mutex_);
    is_stopping_ = true;
    changed_.notify_all();
}

bool BackfillSessions::is_stopping() {
    const std::lock_guard lock(mutex_);
    return is_stopping_;
}

void BackfillSessions::cancel(int pid) {
    std::shared_ptr<Database> session;
    {
        const std::lock_guard lock(mutex_);
        for (const Worker& worker : workers_) {
            if (worker.session && worker.session->pid() == pid) {
                session = worker.session;
            }
        }
    }
    if (session) {
        session->cancel();
    }
}

void BackfillSessions::cancel_all() {
    for (const int pid : pids()) {
        cancel(pid);
    }
}

Outcome BackfillSessions::outcome() {
    const std::lock_guard lock(mutex_);
    return outcome_;
}

}  // namespace sliding_sync::cli
