// Locks on keys that may have no row. A row that is not there cannot be locked, and its unique index is met
// only by those who insert: a transaction that finds that a key must have no row would leave nothing that
// another one meets.
#pragma once

#include "guard/boundary.hpp"

namespace sliding_sync {

/// Of a room's id, or of a user's, as the locks number them.
[[nodiscard]] inline std::uint32_t key_hash(std::string_view id) noexcept {
    return static_cast<std::uint32_t>(std::hash<std::string_view>{}(id));
}

/// The keys of a schema that one refresh has locked. No SQL function can take these locks. Each is held until
/// it is released, or the (sub)transaction that took it ends.
class KeyLocks {
public:
    /// Of rooms with these hashes. A live refresh with more keys than the server's table of locks holds
    /// (`are_many`) locks all keys of these rooms, and of others in the same parts of the schema, until the
    /// transaction ends; otherwise those parts are only kept from such a lock. `is_live`: waits whatever
    /// lock_timeout says, which shall fail no commit. A backfill gives up in time, before a homeserver waits
    /// for rows that it holds.
    KeyLocks(Oid namespace_oid, std::span<const std::uint32_t> room_hashes, bool is_live, bool are_many);
    ~KeyLocks();
    KeyLocks(const KeyLocks&) = delete;
    KeyLocks& operator=(const KeyLocks&) = delete;

    /// A pass may begin after another one was rolled back, and its locks with it.
    void begin_pass() noexcept {
        pass_.clear();
    }

    /// Waits until no other transaction holds the key. `table` is a number of the table within the schema;
    /// `position` is the key's in its pass. Raises PgError.
    void acquire(std::uint16_t table, std::uint32_t key_hash, std::size_t position);

    /// At the end of a pass: releases its keys but those at positions that are to be kept.
    void release_pass(const std::vector<bool>& is_kept);

private:
    struct Key {
        std::uint16_t table;
        std::uint32_t hash;
        std::size_t position;
    };

    Oid namespace_oid_;
    std::vector<std::uint32_t> parts_;
    bool all_keys_;
    bool is_any_kept_ = false;
    std::vector<Key> pass_;
    int exceptions_;
};

/// The lock that every flush of a schema holds until its transaction ends: shared, or alone where a rejection
/// that it has to follow is of an event that is not stored (docs/architecture.md#flush). False when it would
/// have to wait.
[[nodiscard]] bool try_flush_lock(Oid namespace_oid);
/// The same, and waits. Raises PgError.
void wait_for_flush_lock(Oid namespace_oid, bool is_alone);

/// Locks the ids of events, until the transaction ends: of those that are being stored, and of those that a
/// redaction names before they are. False when it would have to wait, with `is_waiting` it waits.
[[nodiscard]] bool lock_event_ids(Oid namespace_oid, std::span<const std::string_view> event_ids,
                                  bool is_waiting);

/// True when no transaction that has not ended, nor one that is prepared, holds the flush lock alone or has
/// locked an event id; until this transaction ends none will.
[[nodiscard]] bool try_lock_out_blind_changes(Oid namespace_oid);

}  // namespace sliding_sync
