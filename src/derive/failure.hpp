// What happens when a step of the pipeline fails. In this order: the right row; no row and a note; no row and
// a count. Only a row that may be wrong and cannot be removed is an error.
#pragma once

#include "derive/quarantine.hpp"

namespace sliding_sync {

/// Work on a number of keys, in key order, that may fail.
struct GuardedWork {
    using Step = std::function<void(std::size_t begin, std::size_t end)>;

    const char* derived_table;
    std::size_t count;
    Step work;
    Step remove;  ///< takes away the keys' derived rows
    std::function<QuarantineKey(std::size_t)> key;
    /// After a row of another key stood in the way of this one's (23505): takes that one away, to be made
    /// again when the work is done. False: there is none.
    std::function<bool(std::size_t)> remove_conflicting;
    /// After a foreign key has failed (23503): whether it is met, but by a row that the transaction's own
    /// snapshot, which the server checks it by, does not show.
    std::function<bool(std::size_t)> refers_to_invisible_row;
    /// For a call that looks at one key after the other on purpose, and that tries again when a lock could
    /// not be had in time: that is raised, and so is the failure after a hundred in a row, for the next ones
    /// would do no better.
    bool is_recompute = false;
};

/// Carries the work out in a subtransaction. What fails there, and could not be handled by the homeserver,
/// costs the derived rows of the keys concerned and not its transaction: they are found by halving, their
/// rows removed, and noted in quarantine. An absent row is filled by the next change or by repair; a wrong
/// one would be believed. A key that keeps failing is not even tried for a while; others are. Raised are:
/// every error with sliding_sync.on_failure = error, what must reach the client (40001 also where a row
/// refers to what the transaction cannot see), and the error of a row that cannot even be removed. Returns
/// how many keys went into quarantine.
std::size_t run_or_quarantine(const HomeserverSchema& schema, const GuardedWork& work);

/// Another try of this key is asked for.
void forget_failures(const HomeserverSchema& schema, const char* derived_table, const QuarantineKey& key);

/// Notes in quarantine, and warns, that all rows were removed because tables could not be understood any
/// more.
void quarantine_all(const HomeserverSchema& schema);

/// Notes in quarantine that these rows were removed because they were stale, to be made again later.
void quarantine_stale(const HomeserverSchema& schema, const char* derived_table,
                      std::span<const QuarantineKey> keys);

/// A look-up that may fail: true when it went through, otherwise it is noted in quarantine.
[[nodiscard]] bool try_lookup(const HomeserverSchema& schema, const std::function<void()>& work);

}  // namespace sliding_sync
