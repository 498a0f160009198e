// What happens when a step of the street fails (design section 4).
#pragma once

#include "derive/quarantine.hpp"

namespace sliding_sync {

/// Stops a backend from paying for an error in every transaction while refreshes keep failing, for instance in the
/// middle of a homeserver's migration. It is whole again after one that goes through, and another is tried after
/// a while or as soon as the catalog has changed.
class Fuse {
public:
    Fuse() = default;
    /// One for whoever looks at one key after the other on purpose: it does not blow, but is exhausted once so many
    /// have failed that none will do better.
    static Fuse patient() noexcept {
        Fuse fuse;
        fuse.is_patient_ = true;
        return fuse;
    }
    /// True while refreshes are not even tried.
    [[nodiscard]] bool is_blown() const noexcept;
    [[nodiscard]] bool is_exhausted() const noexcept;
    void succeeded() noexcept {
        failures_ = 0;
    }
    void failed() noexcept;

private:
    bool is_patient_ = false;
    int failures_ = 0;  ///< in a row
    std::int64_t retry_at_ = 0;
    std::uint64_t generation_ = 0;
};

/// Work on a number of keys that may fail.
struct GuardedWork {
    using Step = std::function<void(std::size_t begin, std::size_t end)>;

    const char* derived_table;
    std::size_t count;
    Step work;
    Step remove;  ///< takes away the keys' derived rows
    std::function<QuarantineKey(std::size_t)> key;
    bool may_wait = false;  ///< a lock that could not be had in time is raised: the work will be tried again
};

/// Carries the work out in a subtransaction. What fails there, and could not be handled by the homeserver, costs the
/// derived rows of the keys concerned and not its transaction: they are found by halving, their rows removed, and
/// noted in quarantine. An absent row is filled by the next change or by repair; a wrong one would be believed.
/// Raised are: the error that exhausts a patient fuse, every error with sliding_sync.on_failure = error, what must reach the client, and the error of a row
/// that cannot even be removed. Answers how many keys went into quarantine.
std::size_t carry_out(const HomeserverSchema& schema, Fuse& fuse, const GuardedWork& work);

/// Notes in quarantine, and warns, that all rows were removed because tables could not be understood any more.
void note_unreadable(const HomeserverSchema& schema);

/// Notes in quarantine that these rows were removed because they were stale, to be made again later.
void note_stale(const HomeserverSchema& schema, const char* derived_table,
                std::span<const QuarantineKey> keys);

/// A look-up that may fail: true when it went through, otherwise it is noted in quarantine.
[[nodiscard]] bool look_up(const HomeserverSchema& schema, const std::function<void()>& work);

}  // namespace sliding_sync
