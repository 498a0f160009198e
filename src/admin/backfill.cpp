#include "admin/backfill.hpp"

#include "admin/catch_up.hpp"
#include "admin/trigger_coverage.hpp"
#include "derive/corrections.hpp"
#include "derive/refresh.hpp"
#include "derive/write_as.hpp"
#include "pg/transaction.hpp"

extern "C" {
#include "catalog/namespace.h"
#include "portability/instr_time.h"
}

namespace sliding_sync {

namespace {

constexpr std::int64_t first_batch_size = 100;
constexpr std::int64_t smallest_batch_size = 10;
constexpr std::int64_t max_batch_size = 5000;

// Keys are fetched for several batches at once: the members of a big room have to be sorted for it.
constexpr std::int64_t keys_per_window = 10'000;

constexpr double wait_for_others_seconds = 0.1;
constexpr double first_retry_seconds = 0.05;
constexpr double max_retry_seconds = 2;
constexpr double report_every_seconds = 10;

class Stopwatch {
public:
    Stopwatch() noexcept {
        INSTR_TIME_SET_CURRENT(start_);
    }
    [[nodiscard]] double seconds() const noexcept {
        instr_time now;
        INSTR_TIME_SET_CURRENT(now);
        INSTR_TIME_SUBTRACT(now, start_);
        return INSTR_TIME_GET_DOUBLE(now);
    }

private:
    instr_time start_;
};

struct OwnedKey {
    std::string room_id;
    std::string user_id;
};

/// Keys behind the position that a range had when they were read.
struct Window {
    std::int64_t range = -1;
    OwnedKey position;
    std::vector<OwnedKey> keys;
    std::size_t next = 0;
    bool is_last = false;  ///< of its range

    [[nodiscard]] bool fits(const Range& claimed) const noexcept {
        return range == claimed.number && position.room_id == claimed.position_room &&
               position.user_id == claimed.position_user && (next < keys.size() || is_last);
    }
};

class BackfillSession {
public:
    BackfillSession(Procedure& procedure, const BackfillOptions& options)
        : procedure_(procedure), options_(options),
          batch_size_(options.batch_size.value_or(first_batch_size)) {}

    Backfilled run() {
        run_ = options_.run ? *options_.run : begin_backfill(procedure_, options_);
        if (options_.verbose.value_or(true)) {
            done_before_ = read_progress(run_).items_done;
        }
        while (true) {
            const Step step = try_batch();
            if (step == Step::finished) {
                break;
            }
            if (step != Step::batch) {
                procedure_.sleep(step == Step::busy ? wait_for_others_seconds : retry_seconds_);
            } else {
                rest();
            }
            if (options_.max_seconds && total_.seconds() >= *options_.max_seconds) {
                return done_;
            }
        }
        finish();
        return done_;
    }

private:
    enum class Step {
        batch,     ///< one was done
        busy,      ///< what is left is in other sessions' hands
        retry,     ///< a lock was not to be had
        finished,  ///< nothing is left
    };

    [[nodiscard]] std::shared_ptr<Homeserver> homeserver() const {
        return homeserver_in(options_.namespace_oid);
    }

    Step try_batch() {
        Step step = Step::finished;
        set_local("lock_timeout", "300ms");  // less than deadlock_timeout: the homeserver is never the victim
        set_local("synchronous_commit", "off");  // the position is lost together with the rows
        fire_triggers_at_once();
        const auto failure = run_in_subtransaction([&] { step = batch(); }, Swallow::contention);
        if (failure) {
            window_ = {};
            // the lock may be held for long: the other ranges first
            std::erase(avoided_, range_);
            avoided_.emplace_back(range_);
            retry_seconds_ = std::min(retry_seconds_ * 2, max_retry_seconds);
            procedure_.commit();
            return Step::retry;
        }
        retry_seconds_ = first_retry_seconds;
        procedure_.commit();
        return step;
    }

    // Deferred triggers would fire at commit, as the caller and not as the owner of the derived tables, and a
    // row that they refuse would end the call.
    static void fire_triggers_at_once() {
        const SpiConnection connection;
        run_once("SET CONSTRAINTS ALL IMMEDIATE");
    }

    Step batch() {
        const std::optional<Range> claimed = claim_range(run_, range_, avoided_);
        if (!claimed) {
            return has_open_ranges(run_) ? Step::busy : Step::finished;
        }
        const Stopwatch watch;
        Range range = *claimed;
        range_ = range.number;
        if (!window_.fits(range)) {
            read_window(range);
        }
        const std::size_t count =
            std::min(static_cast<std::size_t>(batch_size_), window_.keys.size() - window_.next);
        const std::span<const OwnedKey> keys = std::span(window_.keys).subspan(window_.next, count);
        const Refreshed refreshed =
            refresh(*homeserver(), changes_of(range, keys), rules::RefreshMode::recompute);
        if (!keys.empty()) {
            range.position_room = keys.back().room_id;
            range.position_user = keys.back().user_id;
        }
        const bool is_done = window_.is_last && window_.next + count == window_.keys.size();
        BatchResult result;
        result.items = static_cast<std::int64_t>(count);
        result.rows_written = static_cast<std::int64_t>(refreshed.rows_written);
        result.quarantined = static_cast<std::int64_t>(refreshed.quarantined);
        result.work_seconds = watch.seconds();
        result.throttled_seconds = std::exchange(rested_, 0);
        record_batch(run_, range, is_done, result);

        window_.next += count;
        window_.position = {range.position_room, range.position_user};
        std::erase(avoided_, range_);
        count_batch(range, result);
        adapt(result);
        return Step::batch;
    }

    void read_window(const Range& range) {
        window_ = {range.number, {range.position_room, range.position_user}, {}, 0, false};
        const auto held = homeserver();
        const WriteAs reader(held->schema.derived_owner);
        const SpiConnection connection;
        KeyLookup& lookup = held->statements.lookup;
        if (range.is_of_rooms) {
            const auto page = lookup.rooms_between(range.position_room, range.up_to_room, keys_per_window);
            for (const std::string_view room_id : page.keys) {
                window_.keys.push_back({std::string(room_id), {}});
            }
            window_.is_last = page.is_last;
        } else {
            const auto page = lookup.memberships_between({range.position_room, range.position_user},
                                                         range.up_to_room, keys_per_window);
            for (const MembershipKey& key : page.keys) {
                window_.keys.push_back({std::string(key.room_id), std::string(key.user_id)});
            }
            window_.is_last = page.is_last;
        }
    }

    static Changes changes_of(const Range& range, std::span<const OwnedKey> keys) {
        Changes changes;
        for (const OwnedKey& key : keys) {
            if (range.is_of_rooms) {
                changes.rooms.push_back(whole_room(key.room_id));
            } else {
                changes.memberships.push_back({key.room_id, key.user_id});
            }
        }
        return changes;
    }

    void count_batch(const Range& range, const BatchResult& batch) {
        (range.is_of_rooms ? done_.joined_rooms : done_.memberships) += batch.items;
        done_.rows_written += batch.rows_written;
        done_.quarantined += batch.quarantined;
        if (options_.verbose.value_or(true) && since_report_.seconds() >= report_every_seconds) {
            since_report_ = {};
            has_reported_ = true;
            report_progress();
        }
    }

    // Of all sessions of the run.
    void report_progress() const {
        const RunProgress run = read_progress(run_);
        const auto done = static_cast<double>(run.items_done);
        const double total = std::max(static_cast<double>(run.items_total), done);
        const double rate =
            std::max(done - static_cast<double>(done_before_), 1.0) / std::max(total_.seconds(), 0.001);
        const double left = (total - done) / rate;
        const bool is_long = left >= 7200;
        call_pg([&] {
            ereport(NOTICE,
                    errmsg("backfill: %.0f %% of about %.0f rooms and memberships, about %.0f %s left",
                           total > 0 ? 100 * done / total : 100, total,
                           is_long      ? left / 3600
                           : left < 120 ? left
                                        : left / 60,
                           is_long      ? "hours"
                           : left < 120 ? "seconds"
                                        : "minutes"));
        });
    }

    void report_end() const {
        const Backfilled& done = done_;
        const double seconds = total_.seconds();
        const auto rate =
            static_cast<double>(done.joined_rooms + done.memberships) / std::max(seconds, 0.001);
        call_pg([&] {
            ereport(NOTICE, errmsg("backfill: %lld rooms and %lld memberships in %.1f s (%.0f a second), "
                                   "%lld rows written, %lld quarantined",
                                   static_cast<long long>(done.joined_rooms),
                                   static_cast<long long>(done.memberships), seconds, rate,
                                   static_cast<long long>(done.rows_written),
                                   static_cast<long long>(done.quarantined)));
        });
    }

    // A batch holds locks that a homeserver may wait for: it is as long as asked, not longer.
    void adapt(const BatchResult& batch) {
        worked_ = batch.work_seconds;
        if (options_.batch_size || batch.items == 0) {
            return;
        }
        const double per_item = batch.work_seconds / static_cast<double>(batch.items);
        const double fitting = options_.batch_seconds / std::max(per_item, 1e-6);
        const double grown = std::min(fitting, static_cast<double>(batch_size_) * 2);
        batch_size_ = std::clamp(static_cast<std::int64_t>(grown), smallest_batch_size, max_batch_size);
    }

    void rest() {
        double seconds = options_.pause_seconds + worked_ * (1 / options_.share - 1);
        if (options_.max_seconds) {
            seconds = std::min(seconds, *options_.max_seconds - total_.seconds());
        }
        if (seconds > 0) {
            const Stopwatch watch;
            procedure_.sleep(seconds);
            rested_ += watch.seconds();
        }
    }

    void finish() {
        if (finish_run(run_) && options_.scope.is_everything()) {
            if (verifies_history(run_)) {
                done_.rows_written += rewrite_history({options_.scope.schema, options_.namespace_oid});
            }
            record_complete(options_.scope.schema);
        }
        prune_corrections();
        done_.is_finished = exists(run_);
        if (options_.verbose.value_or(has_reported_)) {
            report_end();
        }
        procedure_.commit();
    }

    Procedure& procedure_;
    const BackfillOptions& options_;
    std::int64_t run_ = 0;
    std::int64_t range_ = -1;                           ///< worked on last
    std::vector<std::optional<std::int64_t>> avoided_;  ///< where a lock was not to be had, longest ago first
    std::int64_t batch_size_;
    Window window_;
    Backfilled done_;
    Stopwatch total_;
    Stopwatch since_report_;
    bool has_reported_ = false;
    std::int64_t done_before_ = 0;  ///< of the run, when this call began
    double worked_ = 0;
    double rested_ = 0;
    double retry_seconds_ = first_retry_seconds;
};

}  // namespace

std::int64_t begin_backfill(Procedure& procedure, const BackfillOptions& options) {
    lock_runs();
    // Rows that were changed without the triggers until now are looked at by a new run; one that has looked
    // at some of them before would not do.
    const TriggerCoverage watched = read_trigger_coverage(options.scope.schema);
    const bool has_gap = options.scope.is_everything() && watched.has_gap();
    const bool verifies_history = has_gap && watched.is_known && watched.has_changed_tables;
    const Run run = open_run(options.scope, homeserver_in(options.namespace_oid)->schema,
                             options.restart || has_gap, verifies_history);
    if (has_gap) {
        begin_coverage(options.scope.schema);
    }
    procedure.commit();
    return run.id;
}

Backfilled backfill(Procedure& procedure, const BackfillOptions& options) {
    return BackfillSession(procedure, options).run();
}

}  // namespace sliding_sync
