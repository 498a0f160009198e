#include "cli/run_progress.hpp"

#include <algorithm>
#include <fmt/format.h>

#include "cli/sql.hpp"

namespace sliding_sync::cli {

namespace {

using namespace std::chrono_literals;

// A look costs the server a few milliseconds.
constexpr std::chrono::steady_clock::duration shortest_interval = 500ms;
constexpr std::chrono::steady_clock::duration longest_interval = 2s;
constexpr int rest_factor = 50;
// until the run is seen, which it is from the end of its first batch on
constexpr std::chrono::steady_clock::duration first_interval = 150ms;
constexpr auto rate_window = 10s;
constexpr const char* joined_rooms = "sliding_sync_joined_rooms";

std::int64_t number(const Value& value) {
    return value ? std::stoll(*value) : 0;
}

Totals totals_of(const Rows& rows, std::size_t row) {
    const std::int64_t keys = number(rows.at(row, "items_done"));
    const bool is_of_rooms = rows.at(row, "table_name") == joined_rooms;
    return {is_of_rooms ? keys : 0, is_of_rooms ? 0 : keys, number(rows.at(row, "rows_written")),
            number(rows.at(row, "quarantined"))};
}

std::string list_of(const std::vector<int>& pids) {
    return fmt::format("'{{{}}}'::integer[]", fmt::join(pids, ","));
}

}  // namespace

Totals& Totals::operator+=(const Totals& other) noexcept {
    joined_rooms += other.joined_rooms;
    memberships += other.memberships;
    rows_written += other.rows_written;
    quarantined += other.quarantined;
    return *this;
}

Totals Totals::minus(const Totals& other) const noexcept {
    return {joined_rooms - other.joined_rooms, memberships - other.memberships,
            rows_written - other.rows_written, quarantined - other.quarantined};
}

RunProgress::RunProgress(const Connector& connector, const Options& options)
    : connector_(connector), options_(options) {
    for (const auto& [id, run] : read({})) {
        before_[id] = run.done;
    }
}

Rows RunProgress::ask(const std::string& sql) {
    if (!may_look_) {
        return {};
    }
    try {
        if (!session_) {
            session_ = connector_.open();
        }
        return session_->run(sql);
    } catch (const ServerError&) {  // the role is no pg_monitor
        may_look_ = false;
    } catch (const ConnectionLost&) {  // the working sessions tell it, if it matters
        session_.reset();
    }
    return {};
}

std::map<std::string, RunProgress::Run> RunProgress::read(const std::vector<int>& pids) {
    std::string sql =
        fmt::format("SELECT run_id, table_name, items_done, items_total, rows_written, quarantined, "
                    "sessions && {} AS is_ours FROM sliding_sync.progress",
                    list_of(pids));
    if (options_.schema) {
        sql += fmt::format(" WHERE schema_name = {}", sql_literal(*options_.schema));
    }
    const Rows rows = ask(sql);
    std::map<std::string, Run> runs;
    for (std::size_t i = 0; i < rows.values.size(); ++i) {
        Run& run = runs[*rows.at(i, "run_id")];
        run.done += totals_of(rows, i);
        run.keys_total += number(rows.at(i, "items_total"));
        run.is_ours = run.is_ours || rows.at(i, "is_ours") == "t";
    }
    return runs;
}

const std::optional<Progress>& RunProgress::look(const std::vector<int>& pids) {
    return Clock::now() < next_look_ ? progress_ : look_now(pids);
}

const std::optional<Progress>& RunProgress::look_now(const std::vector<int>& pids) {
    const auto began = Clock::now();
    const auto runs = read(pids);
    for (const auto& [id, run] : runs) {
        if (run.is_ours) {
            run_ = id;
        }
    }
    if (const auto ours = run_ ? runs.find(*run_) : runs.end(); ours != runs.end()) {
        take(ours->second);
    }
    const auto now = Clock::now();
    next_look_ = now + (run_ ? std::clamp((now - began) * rest_factor, shortest_interval, longest_interval)
                             : first_interval);
    return progress_;
}

void RunProgress::take(const Run& run) {
    const auto now = Clock::now();
    const auto before = before_.find(*run_);
    const std::int64_t keys = run.done.keys();
    lately_.emplace_back(now, keys);
    while (lately_.size() > 2 && now - lately_.front().first > rate_window) {
        lately_.pop_front();
    }
    Progress progress;
    progress.number = progress_ ? progress_->number + 1 : 1;
    progress.of_run = run.done;
    progress.done = before == before_.end() ? run.done : run.done.minus(before->second);
    progress.keys_total = std::max(run.keys_total, keys);
    const double seconds = std::chrono::duration<double>(now - lately_.front().first).count();
    if (seconds > 0) {
        progress.rate = static_cast<double>(keys - lately_.front().second) / seconds;
    }
    if (progress.rate > 0) {
        progress.eta_seconds = static_cast<double>(progress.keys_total - keys) / progress.rate;
    }
    progress_ = progress;
}

std::optional<Totals> RunProgress::totals_of_run() {
    if (!run_) {
        return std::nullopt;
    }
    // the view has forgotten a run that is finished
    may_look_ = true;
    const Rows rows = ask(
        fmt::format("SELECT table_name, sum(items_done) AS items_done, sum(rows_written) AS rows_written, "
                    "sum(quarantined) AS quarantined FROM sliding_sync.run_ranges WHERE run_id = {} "
                    "GROUP BY table_name",
                    *run_));
    if (rows.values.empty()) {
        return progress_ ? std::optional(progress_->done) : std::nullopt;
    }
    Totals totals;
    for (std::size_t i = 0; i < rows.values.size(); ++i) {
        totals += totals_of(rows, i);
    }
    const auto before = before_.find(*run_);
    return before == before_.end() ? totals : totals.minus(before->second);
}

}  // namespace sliding_sync::cli
