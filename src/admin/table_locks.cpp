#include "admin/table_locks.hpp"

#include "server/spi.hpp"
#include "server/transaction.hpp"

extern "C" {
#include "utils/timestamp.h"
}

namespace sliding_sync {

namespace {

// A homeserver's writer waits behind our lock request as long as we wait for the locks: not longer than this.
constexpr int lock_wait_milliseconds = 700;
constexpr int lock_attempts = 15;
constexpr int first_pause_milliseconds = 200;
constexpr int longest_pause_milliseconds = 3000;

void pause(int milliseconds) {
    run_once("SELECT pg_catalog.pg_sleep(" + std::to_string(milliseconds) + " / 1000.0)");
}

// The session's own lock_timeout comes back when the work is done; after an error the transaction brings it back.
class LockTimeout {
public:
    LockTimeout() : before_(query_once("SELECT pg_catalog.current_setting('lock_timeout')")[0][0].text()) {}
    void set(long milliseconds) {
        run_once("SET LOCAL lock_timeout = " + std::to_string(milliseconds));
    }
    void restore() {
        run_once("SET LOCAL lock_timeout = " + quoted_literal(before_));
    }

private:
    std::string before_;
};

}  // namespace

// Takes every lock within one short wait, or none: while we wait for one, the homeserver queues up behind us.
// ALTER TRIGGER ... DEPENDS ON EXTENSION and DROP TRIGGER need the strongest one; taking it at once, nothing has to
// be raised later.
void lock_tables(const std::vector<std::string>& tables) {
    LockTimeout lock_timeout;
    int wait = first_pause_milliseconds;
    for (int attempt = 1;; ++attempt) {
        const ErrorData* const failure = run_in_subtransaction([&] {
            const TimestampTz deadline =
                TimestampTzPlusMilliseconds(GetCurrentTimestamp(), lock_wait_milliseconds);
            for (const std::string& table : tables) {
                lock_timeout.set(
                    std::max(1L, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline)));
                run_once("LOCK TABLE " + table + " IN ACCESS EXCLUSIVE MODE");
            }
        });
        if (failure == nullptr) {
            lock_timeout.restore();
            return;
        }
        if (failure->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE) {
            throw Error(failure->sqlerrcode, failure->message,
                        failure->detail != nullptr ? failure->detail : "",
                        failure->hint != nullptr ? failure->hint : "");
        }
        if (attempt == lock_attempts) {
            throw Error(ERRCODE_LOCK_NOT_AVAILABLE, "could not lock the homeserver's tables",
                        "They were in use by long transactions every time; nobody was kept waiting longer "
                        "than a second.",
                        "Look for old transactions in pg_stat_activity, and try again.");
        }
        pause(wait);
        wait = std::min(2 * wait, longest_pause_milliseconds);
    }
}

}  // namespace sliding_sync
