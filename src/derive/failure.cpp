#include "derive/failure.hpp"

#include "derive/circuit_breaker.hpp"
#include "pg/fault_injection.hpp"
#include "pg/settings.hpp"
#include "pg/spi.hpp"
#include "pg/transaction.hpp"
#include "pg/warning.hpp"

namespace sliding_sync {

namespace {

constexpr int failures_to_exhaust = 100;

// What another transaction has done since our look is seen by the next attempt. What remains a conflict then
// is one with the transaction's own snapshot, and what is still not written is swallowed by a trigger of the
// tables' owner.
constexpr int max_conflicts = 20;
constexpr int max_attempts = 3;

// A row has two unique keys; one that comes back each time is a trigger's.
constexpr int max_conflicting_rows = 3;

bool is_conflict(const PgError& failure) noexcept {
    return failure.sqlstate() == ERRCODE_T_R_SERIALIZATION_FAILURE && !failure.is_raised_by_code();
}

int attempts_for(const PgError& failure) noexcept {
    if (failure.is_raised_by_code()) {
        return 1;
    }
    switch (failure.sqlstate()) {
    case ERRCODE_T_R_SERIALIZATION_FAILURE:
        return max_conflicts;
    case ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION:
        return max_attempts;
    default:
        return 1;
    }
}

bool raises() noexcept {
    return on_failure == static_cast<int>(OnFailure::error);
}

Failure told_by(const PgError& error) {
    return {error.sqlstate(), error.message()};
}

void warn(const Failure& failure, const char* detail) {
    warn_client({failure.sqlstate, "sliding_sync could not refresh derived rows: " + failure.message, detail,
                 "See sliding_sync.quarantine."});
}

std::shared_ptr<CircuitBreakers> breakers_of(const HomeserverSchema& schema) {
    static std::unordered_map<Oid, std::shared_ptr<CircuitBreakers>> known;
    if (const auto found = known.find(schema.namespace_oid); found != known.end()) {
        return found->second;
    }
    forget_gone_schemas(known);
    return known.emplace(schema.namespace_oid, std::make_shared<CircuitBreakers>()).first->second;
}

// A lock that could not be had in time says nothing of the row, and a bad member nothing of the room's own
// row.
std::string breaker_key(std::string_view derived_table, const QuarantineKey& key) {
    std::string name(derived_table);
    name.append(1, '\n').append(key.room_id);
    if (key.user_id) {
        name.append(1, '\n').append(*key.user_id);
    }
    return name;
}

class Carrying {
public:
    Carrying(const HomeserverSchema& schema, const GuardedWork& work)
        : schema_(schema), work_(work), held_(breakers_of(schema)), breakers_(*held_) {}

    std::size_t run() {
        if (breakers_.is_empty() || work_.is_recompute || raises()) {
            if (work_.count > 0) {
                range(0, work_.count);
            }
            return failed_;
        }
        for (std::size_t begin = 0; begin < work_.count;) {
            std::size_t end = begin;
            while (end < work_.count && !is_open(end)) {
                ++end;
            }
            if (end > begin) {
                range(begin, end);
            }
            if (end < work_.count) {
                without_a_try(end++);
            }
            begin = end;
        }
        return failed_;
    }

private:
    void without_a_try(std::size_t i) {
        const Failure failure{ERRCODE_INTERNAL_ERROR,
                              "refreshes of this row kept failing; see the entry with reason refresh_failed"};
        if (remove(i)) {
            range(i, i + 1);  // what cannot be removed may still be made right
        } else {
            note(i, QuarantineReason::circuit_breaker_open, failure);
        }
    }

    void range(std::size_t begin, std::size_t end) {
        const std::optional<PgError> failure = attempt(begin, end);
        if (!failure) {
            return;
        }
        if (end - begin > 1) {
            halve(begin, end);
        } else {
            one_failed(begin, *failure);
        }
    }

    void halve(std::size_t begin, std::size_t end) {
        const std::size_t middle = begin + (end - begin) / 2;
        range(begin, middle);
        range(middle, end);
    }

    // What failed, and how, unless it was done in the end. Several keys have one attempt.
    std::optional<PgError> attempt(std::size_t begin, std::size_t end) {
        const Swallow swallow{true, !work_.is_recompute, !is_serializable(), false};
        const NoSecondWait no_second_wait(!work_.is_recompute);
        for (int number = 1;; ++number) {
            auto failure = run_in_subtransaction([&] { work_.work(begin, end); }, swallow);
            if (!failure) {
                succeeded(begin, end);
                return failure;
            }
            if (end - begin > 1 || number >= attempts_for(*failure)) {
                return failure;
            }
        }
    }

    void succeeded(std::size_t begin, std::size_t end) {
        failures_in_a_row_ = 0;
        for (std::size_t i = begin; i < end && !breakers_.is_empty(); ++i) {
            breakers_.succeeded(breaker_key(work_.derived_table, work_.key(i)));
        }
    }

    bool is_open(std::size_t i) const {
        return breakers_.is_open(breaker_key(work_.derived_table, work_.key(i)));
    }

    void one_failed(std::size_t i, PgError failure) {
        if (is_conflict(failure)) {
            throw PgError(failure);
        }
        for (int cleared = 0;
             failure.sqlstate() == ERRCODE_UNIQUE_VIOLATION && cleared < max_conflicting_rows &&
             work_.remove_conflicting && remove_conflicting(i);
             ++cleared) {
            const auto again = attempt(i, i + 1);
            if (!again) {
                return;
            }
            failure = *again;
        }
        if (failure.sqlstate() == ERRCODE_FOREIGN_KEY_VIOLATION && !is_read_committed() &&
            work_.refers_to_invisible_row && refers_to_invisible_row(i)) {
            throw Error(ERRCODE_T_R_SERIALIZATION_FAILURE,
                        "could not serialize access due to an event that was stored by another transaction",
                        "A derived row has to refer to it, and this transaction cannot see it.",
                        "The transaction might succeed if retried.");
        }
        if (raises()) {
            throw PgError(failure);
        }
        if (work_.is_recompute && ++failures_in_a_row_ >= failures_to_exhaust) {
            throw PgError(failure);
        }
        if (failure.sqlstate() != ERRCODE_LOCK_NOT_AVAILABLE) {
            breakers_.quarantined(breaker_key(work_.derived_table, work_.key(i)));
        }
        if (remove(i)) {
            throw PgError(failure);  // a row that may be wrong can neither be made right nor removed
        }
        note(i, QuarantineReason::refresh_failed, told_by(failure));
        warn(told_by(failure), is_open(i)
                                   ? "It kept failing: for a while the row is removed without another try."
                                   : "The row concerned was removed; the transaction goes on.");
    }

    bool remove_conflicting(std::size_t i) {
        bool is_clear = false;
        const auto failure = run_in_subtransaction([&] { is_clear = work_.remove_conflicting(i); });
        return !failure && is_clear;
    }

    bool refers_to_invisible_row(std::size_t i) {
        bool is_hidden = false;
        const auto failure = run_in_subtransaction([&] { is_hidden = work_.refers_to_invisible_row(i); });
        return !failure && is_hidden;
    }

    // Why the row could not be removed.
    std::optional<PgError> remove(std::size_t i) {
        const LastResort last_resort;
        return run_in_subtransaction([&] { work_.remove(i, i + 1); });
    }

    void note(std::size_t i, QuarantineReason reason, const Failure& failure) {
        const LastResort last_resort;
        const QuarantineKey key = work_.key(i);
        quarantine(schema_, work_.derived_table, {&key, 1}, reason, failure);
        ++failed_;
    }

    const HomeserverSchema& schema_;
    const GuardedWork& work_;
    std::shared_ptr<CircuitBreakers> held_;  // its schema may be dropped meanwhile
    CircuitBreakers& breakers_;
    std::size_t failed_ = 0;
    static inline int failures_in_a_row_ = 0;  // of recomputes: one call works on many passes
};

}  // namespace

std::size_t run_or_quarantine(const HomeserverSchema& schema, const GuardedWork& work) {
    return Carrying(schema, work).run();
}

void forget_failures(const HomeserverSchema& schema, const char* derived_table, const QuarantineKey& key) {
    breakers_of(schema)->succeeded(breaker_key(derived_table, key));
}

void quarantine_all(const HomeserverSchema& schema) {
    const Failure failure{ERRCODE_UNDEFINED_COLUMN,
                          "a table does not have the columns any more that name rooms, users or events"};
    const QuarantineKey everything{"", std::nullopt};
    quarantine(schema, "", {&everything, 1}, QuarantineReason::unreadable, failure);
    warn(failure, "All derived rows were removed; the transaction goes on.");
}

void quarantine_stale(const HomeserverSchema& schema, const char* derived_table,
                      std::span<const QuarantineKey> keys) {
    quarantine(schema, derived_table, keys, QuarantineReason::stale,
               {ERRCODE_SUCCESSFUL_COMPLETION, "stale after changes without triggers; to be made again"});
}

bool try_lookup(const HomeserverSchema& schema, const std::function<void()>& work) {
    if (raises()) {
        work();
        return true;
    }
    const NoSecondWait no_second_wait;
    const auto failure = run_in_subtransaction(work);
    if (!failure) {
        return true;
    }
    const LastResort last_resort;
    const QuarantineKey nothing{"", std::nullopt};
    quarantine(schema, "", {&nothing, 1}, QuarantineReason::lookup_failed, told_by(*failure));
    warn(told_by(*failure), "Which rooms the change concerns could not be found out.");
    return false;
}

}  // namespace sliding_sync
