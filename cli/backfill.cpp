#include "cli/backfill.hpp"

#include <atomic>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <set>

#include "cli/backfill_sessions.hpp"
#include "cli/batch_boundary.hpp"
#include "cli/command_again.hpp"
#include "cli/interrupts.hpp"
#include "cli/output.hpp"
#include "cli/print_rows.hpp"
#include "cli/progress_display.hpp"
#include "cli/sql.hpp"
#include "cli/statements.hpp"

namespace sliding_sync::cli {

namespace {

using namespace std::chrono_literals;

constexpr auto tick = 50ms;
constexpr auto boundary_tick = 2ms;
// A batch may be told to take longer; whoever wants to wait less presses Ctrl-C again.
constexpr auto longest_wait_for_batches = 60s;

// What the server would say after the run has begun is said before.
std::optional<double> seconds_of(Database& database, const char* option,
                                 const std::optional<std::string>& interval, bool may_be_nothing) {
    if (!interval) {
        return std::nullopt;
    }
    const Rows rows = database.run(
        fmt::format("SELECT extract(epoch FROM {}::pg_catalog.interval)", sql_literal(*interval)));
    const double seconds = std::stod(*rows.values.at(0).at(0));
    if (seconds < 0 || (seconds == 0 && !may_be_nothing)) {
        throw Failure(
            ExitCode::usage,
            fmt::format("{} must {}", option, may_be_nothing ? "not be negative" : "be more than nothing"));
    }
    return seconds;
}

/// Ctrl-C: once each session has committed its batch, it is cancelled.
void end_after_batches(BackfillSessions& sessions, const Connector& connector) {
    console().say("ending after the batches in hand; Ctrl-C again ends at once");
    BatchBoundary boundary(connector);
    std::set<int> cancelled;
    const auto deadline = std::chrono::steady_clock::now() + longest_wait_for_batches;
    while (!sessions.wait(boundary_tick)) {
        std::vector<int> left;
        for (const int pid : sessions.pids()) {
            if (cancelled.count(pid) == 0) {
                left.push_back(pid);
            }
        }
        const bool is_late = std::chrono::steady_clock::now() > deadline;
        for (const int pid : is_late ? left : boundary.at_boundary(left)) {
            sessions.cancel(pid);
            cancelled.insert(pid);
        }
    }
}

void print_outcome(const Outcome& outcome, const Totals& totals, const Options& options) {
    if (options.json) {
        print_line(nlohmann::ordered_json{{"event", "finished"},
                                          {"joined_rooms", totals.joined_rooms},
                                          {"memberships", totals.memberships},
                                          {"rows_written", totals.rows_written},
                                          {"quarantined", totals.quarantined},
                                          {"is_finished", outcome.is_finished}}
                       .dump());
        return;
    }
    Rows rows;
    rows.columns = {"joined_rooms", "memberships", "rows_written", "quarantined", "is_finished"};
    rows.is_number = {true, true, true, true, false};
    rows.values = {{std::to_string(totals.joined_rooms), std::to_string(totals.memberships),
                    std::to_string(totals.rows_written), std::to_string(totals.quarantined),
                    outcome.is_finished ? "t" : "f"}};
    print_table(rows, options);
}

std::string hint_to_go_on(const Options& options) {
    return "What was done is kept. This goes on with it: " + command_again(options);
}

ExitCode ended(const Outcome& outcome, const Totals& totals, const Options& options) {
    if (outcome.is_finished) {
        print_outcome(outcome, totals, options);
        return ExitCode::done;
    }
    if (outcome.failure) {
        Failure failure = *outcome.failure;
        if (failure.hint.empty()) {
            failure.hint = hint_to_go_on(options);
        }
        throw failure;
    }
    print_outcome(outcome, totals, options);
    if (interrupts().count() > 0) {
        throw Failure(ExitCode::interrupted, "interrupted", {}, hint_to_go_on(options));
    }
    console().print({"notice", "the time is over, and the run is not finished", {}, hint_to_go_on(options)});
    return ExitCode::done;
}

/// Until all sessions have ended.
void watch(BackfillSessions& sessions, RunProgress& progress, const Connector& connector,
           const Options& options) {
    ProgressDisplay display(options);
    while (!sessions.wait(tick)) {
        if (sessions.is_stopping()) {
            progress.look_now();
            display.end();
            end_after_batches(sessions, connector);
            return;
        }
        display.update(progress.look());
    }
    display.end();
}

}  // namespace

ExitCode run_backfill(const Connector& connector, const Options& options) {
    std::optional<double> max_seconds;
    std::string run_id;
    {
        const auto first = connector.open();
        check_versions(*first, options);
        max_seconds = seconds_of(*first, "--max-duration", options.max_duration, false);
        seconds_of(*first, "--batch-time", options.batch_time, false);
        seconds_of(*first, "--pause", options.pause, true);
        run_id = *run(*first, begin_backfill_statement(options), options).at(0, "run_id");
    }
    RunProgress progress(connector, run_id);
    BackfillSessions sessions(connector, options, run_id, max_seconds);
    const Interrupts::Scope stopping([&](int count) {
        if (count > 1) {
            sessions.cancel_all();
            interrupts().exit_now();
        }
        sessions.stop();
    });
    watch(sessions, progress, connector, options);
    const Outcome outcome = sessions.outcome();
    Totals totals = outcome.totals;
    if (outcome.has_lost_calls) {
        totals = progress.totals_of_run().value_or(totals);
    }
    return ended(outcome, totals, options);
}

}  // namespace sliding_sync::cli
