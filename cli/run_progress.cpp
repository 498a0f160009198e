#include "cli/run_progress.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace sliding_sync::cli {

namespace {

using namespace std::chrono_literals;

// A look costs the server a few milliseconds.
constexpr std::chrono::steady_clock::duration shortest_interval = 500ms;
constexpr std::chrono::steady_clock::duration longest_interval = 2s;
constexpr int rest_factor = 50;
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

RunProgress::RunProgress(const Connector& connector, std::string run_id)
    : connector_(connector), run_id_(std::move(run_id)) {
    if (const auto run = read()) {
        before_ = run->done;
    }
}

Rows RunProgress::ask(const std::string& sql) {
    // a session of before may have been lost together with the others
    for (bool is_new = false; may_look_ && !is_new;) {
        try {
            is_new = session_ == nullptr;
            if (is_new) {
                session_ = connector_.open();
            }
            return session_->run(sql);
        } catch (const ServerError&) {  // the role is no pg_monitor
            may_look_ = false;
        } catch (const ConnectionLost&) {  // the working sessions tell it, if it matters
            session_.reset();
        }
    }
    return {};
}

std::optional<RunProgress::Run> RunProgress::read() {
    const Rows rows = ask(fmt::format("SELECT table_name, items_done, items_total, rows_written, quarantined "
                                      "FROM sliding_sync.progress WHERE run_id OPERATOR(pg_catalog.=) {}",
                                      run_id_));
    std::optional<Run> run;
    for (std::size_t i = 0; i < rows.values.size(); ++i) {
        run = run.value_or(Run());
        run->done += totals_of(rows, i);
        run->keys_total += number(rows.at(i, "items_total"));
    }
    return run;
}

const std::optional<Progress>& RunProgress::look() {
    return Clock::now() < next_look_ ? progress_ : look_now();
}

const std::optional<Progress>& RunProgress::look_now() {
    const auto began = Clock::now();
    // none once it is finished
    if (const auto run = read(); run && (progress_ || run->done.keys() > before_.keys())) {
        take(*run);
    }
    const auto now = Clock::now();
    next_look_ = now + std::clamp((now - began) * rest_factor, shortest_interval, longest_interval);
    return progress_;
}

void RunProgress::take(const Run& run) {
    const auto now = Clock::now();
    const std::int64_t keys = run.done.keys();
    lately_.emplace_back(now, keys);
    while (lately_.size() > 2 && now - lately_.front().first > rate_window) {
        lately_.pop_front();
    }
    Progress progress;
    progress.number = progress_ ? progress_->number + 1 : 1;
    progress.of_run = run.done;
    progress.done = run.done.minus(before_);
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
    // the view has forgotten a run that is finished
    may_look_ = true;
    const Rows rows = ask(fmt::format(
        "SELECT table_name, pg_catalog.sum(items_done) AS items_done, "
        "pg_catalog.sum(rows_written) AS rows_written, pg_catalog.sum(quarantined) AS quarantined "
        "FROM sliding_sync.run_ranges WHERE run_id OPERATOR(pg_catalog.=) {} "
        "GROUP BY table_name",
        run_id_));
    if (rows.values.empty()) {
        return progress_ ? std::optional(progress_->done) : std::nullopt;
    }
    Totals totals;
    for (std::size_t i = 0; i < rows.values.size(); ++i) {
        totals += totals_of(rows, i);
    }
    return totals.minus(before_);
}

}  // namespace sliding_sync::cli
