// Runs of the backfill: which ranges of rooms are left, and how far each is (sliding_sync.runs, run_ranges).
// All functions write as the owner of these tables, in the caller's transaction.
#pragma once

#include "derive/homeserver_schema.hpp"

namespace sliding_sync {

/// What a backfill fills.
enum class DerivedTableSet : std::uint8_t { joined_rooms, memberships, both };

/// The word for it in SQL, and back; raises 22023 for any other word.
[[nodiscard]] const char* word(DerivedTableSet tables) noexcept;
[[nodiscard]] DerivedTableSet parse_tables(const std::string& text);

struct RunScope {
    std::string schema;
    DerivedTableSet tables = DerivedTableSet::both;
    std::optional<std::string> first_room;
    std::optional<std::string> last_room;

    [[nodiscard]] bool is_everything() const noexcept {
        return tables == DerivedTableSet::both && !first_room && !last_room;
    }
};

/// That of a run, which may be finished. Raises 42704 when there is none (any more).
[[nodiscard]] RunScope scope_of_run(std::int64_t run);

struct Run {
    std::int64_t id = 0;
    bool is_new = false;
};

/// Sessions that start together come in here one after the other, until the transaction ends, and share one
/// run.
void lock_runs();

/// The unfinished run of this scope, or a new one, split into ranges of about as many rooms each. A run that
/// replaces another verifies the history of snapshots where the other one was to.
[[nodiscard]] Run open_run(const RunScope& scope, const HomeserverSchema& schema, bool restart,
                           bool verifies_history);

struct Range {
    std::int64_t number = 0;
    bool is_of_rooms = false;  ///< of joined rooms, otherwise of memberships
    std::optional<std::string> up_to_room;
    std::string position_room;
    std::string position_user;
};

/// A range that no other session is working on at this moment, locked until the transaction ends: the one
/// with `preferred` number if it can be had, one of the `avoided` only when no other is left, the first of
/// these first.
[[nodiscard]] std::optional<Range> claim_range(std::int64_t run, std::int64_t preferred,
                                               std::span<const std::optional<std::int64_t>> avoided);

struct BatchResult {
    std::int64_t items = 0;
    std::int64_t rows_written = 0;
    std::int64_t quarantined = 0;
    double work_seconds = 0;
    double throttled_seconds = 0;
};

/// Moves the range on, in the transaction of the batch.
void record_batch(std::int64_t run, const Range& range, bool is_done, const BatchResult& batch);

/// Of all sessions, committed batches and the current one.
struct RunProgress {
    std::int64_t items_done = 0;
    std::int64_t items_total = 0;  ///< estimate
};
[[nodiscard]] RunProgress read_progress(std::int64_t run);

[[nodiscard]] bool has_open_ranges(std::int64_t run);

/// False after another call has restarted.
[[nodiscard]] bool exists(std::int64_t run);

[[nodiscard]] bool verifies_history(std::int64_t run);

/// True when this call is the one that finished the run.
bool finish_run(std::int64_t run);

}  // namespace sliding_sync
