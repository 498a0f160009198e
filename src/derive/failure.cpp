#include "derive/failure.hpp"

#include "server/fault.hpp"
#include "server/settings.hpp"
#include "server/spi.hpp"
#include "server/transaction.hpp"

extern "C" {
#include "utils/timestamp.h"
}

namespace sliding_sync {

namespace {

constexpr int failures_to_blow = 8;
constexpr int failures_to_exhaust = 100;
constexpr std::int64_t retry_after_microseconds = 30'000'000;

bool raises() noexcept {
    return on_failure == static_cast<int>(OnFailure::error);
}

void remove_and_note(const HomeserverSchema& schema, const GuardedWork& work, std::size_t begin,
                     std::size_t end, QuarantineReason reason, const Failure& failure,
                     const std::optional<PgError>& error) {
    const LastResort last_resort;
    const auto second = run_in_subtransaction([&] {
        work.remove(begin, end);
        std::vector<QuarantineKey> keys;
        for (std::size_t i = begin; i < end; ++i) {
            keys.push_back(work.key(i));
        }
        quarantine(schema, work.derived_table, keys, reason, failure);
    });
    if (second) {
        throw PgError(error ? *error : *second);  // a row that may be wrong can neither be mended nor removed
    }
}

Failure told_by(const PgError& error) {
    return {error.sqlstate(), error.message()};
}

void warn(const Failure& failure, const char* detail) {
    const char* const message = failure.message.c_str();
    call_pg([&] {
        ereport(WARNING, errcode(failure.sqlstate),
                errmsg("sliding_sync could not refresh derived rows: %s", message), errdetail("%s", detail),
                errhint("See sliding_sync.quarantine."));
    });
}

std::size_t carry_out_range(const HomeserverSchema& schema, Fuse& fuse, const GuardedWork& work,
                            std::size_t begin, std::size_t end) {
    if (fuse.is_blown()) {
        const Failure failure{ERRCODE_INTERNAL_ERROR,
                              "refreshes kept failing; see the rows with reason refresh_failed"};
        remove_and_note(schema, work, begin, end, QuarantineReason::fuse_blown, failure, std::nullopt);
        return end - begin;
    }
    const auto failure = run_in_subtransaction([&] { work.work(begin, end); },
                                               work.may_wait ? Swallow::lasting_failures : Swallow::failures);
    if (!failure) {
        fuse.succeeded();
        return 0;
    }
    if (end - begin > 1) {
        const std::size_t middle = begin + (end - begin) / 2;
        return carry_out_range(schema, fuse, work, begin, middle) +
               carry_out_range(schema, fuse, work, middle, end);
    }
    fuse.failed();
    if (fuse.is_exhausted()) {
        throw PgError(*failure);
    }
    remove_and_note(schema, work, begin, end, QuarantineReason::refresh_failed, told_by(*failure), failure);
    warn(told_by(*failure), fuse.is_blown()
                                ? "It kept failing: for a while rows are removed without another try."
                                : "The row concerned was removed; the transaction goes on.");
    return 1;
}

}  // namespace

bool Fuse::is_blown() const noexcept {
    return !is_patient_ && failures_ >= failures_to_blow && generation_ == catalog_generation() &&
           GetCurrentTimestamp() < retry_at_;
}

bool Fuse::is_exhausted() const noexcept {
    return is_patient_ && failures_ >= failures_to_exhaust;
}

void Fuse::failed() noexcept {
    ++failures_;
    retry_at_ = GetCurrentTimestamp() + retry_after_microseconds;
    generation_ = catalog_generation();
}

std::size_t carry_out(const HomeserverSchema& schema, Fuse& fuse, const GuardedWork& work) {
    if (raises()) {
        work.work(0, work.count);
        return 0;
    }
    return carry_out_range(schema, fuse, work, 0, work.count);
}

void note_unreadable(const HomeserverSchema& schema) {
    const Failure failure{ERRCODE_UNDEFINED_COLUMN,
                          "a table does not have the columns any more that name rooms, users or events"};
    const QuarantineKey everything{"", std::nullopt};
    quarantine(schema, "", {&everything, 1}, QuarantineReason::unreadable, failure);
    warn(failure, "All derived rows were removed; the transaction goes on.");
}

void note_stale(const HomeserverSchema& schema, const char* derived_table,
                std::span<const QuarantineKey> keys) {
    quarantine(schema, derived_table, keys, QuarantineReason::stale,
               {ERRCODE_SUCCESSFUL_COMPLETION, "stale after changes without triggers; to be made again"});
}

bool look_up(const HomeserverSchema& schema, const std::function<void()>& work) {
    if (raises()) {
        work();
        return true;
    }
    const auto failure = run_in_subtransaction(work);
    if (!failure) {
        return true;
    }
    const QuarantineKey nothing{"", std::nullopt};
    quarantine(schema, "", {&nothing, 1}, QuarantineReason::lookup_failed, told_by(*failure));
    warn(told_by(*failure), "Which rooms the change concerns could not be found out.");
    return false;
}

}  // namespace sliding_sync
