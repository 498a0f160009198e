#include "admin/table_locks.hpp"

#include "pg/spi.hpp"
#include "pg/transaction.hpp"

extern "C" {
#include "utils/timestamp.h"
}

namespace sliding_sync {

namespace {

// A writer that comes after our lock request waits as long as we do: never longer than this. A writer in
// flight is done in milliseconds, and only a long transaction makes longer attempts worth while.
constexpr long first_wait_milliseconds = 60;
constexpr long max_wait_milliseconds = 700;
constexpr long pause_milliseconds = 150;
constexpr long max_milliseconds = 60'000;

void pause(long milliseconds) {
    run_once("SELECT pg_catalog.pg_sleep(" + std::to_string(milliseconds) + " / 1000.0)");
}

}  // namespace

void lock_tables(const std::vector<std::string>& tables) {
    const OwnSettings settings;
    const TimestampTz give_up = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), max_milliseconds);
    for (long wait = first_wait_milliseconds;; wait = std::min(2 * wait, max_wait_milliseconds)) {
        const auto failure = run_in_subtransaction([&] {
            const TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), wait);
            for (const std::string& table : tables) {
                set_local("lock_timeout", std::to_string(std::max(1L, TimestampDifferenceMilliseconds(
                                                                          GetCurrentTimestamp(), deadline)))
                                              .c_str());
                run_once("LOCK TABLE " + table + " IN SHARE ROW EXCLUSIVE MODE");
            }
        });
        if (!failure) {
            return;
        }
        if (failure->sqlstate() != ERRCODE_LOCK_NOT_AVAILABLE) {
            throw PgError(*failure);
        }
        if (GetCurrentTimestamp() > give_up) {
            throw Error(ERRCODE_LOCK_NOT_AVAILABLE, "could not lock the homeserver's tables",
                        "They were in use every time; nobody was kept waiting longer than a second.",
                        "Look for old transactions in pg_stat_activity, and try again.");
        }
        pause(pause_milliseconds);
    }
}

}  // namespace sliding_sync
