#include "pg/key_locks.hpp"

#include "pg/transaction.hpp"

#include <exception>

extern "C" {
#include "miscadmin.h"
#include "storage/lock.h"
}

namespace sliding_sync {

namespace {

// The fourth field is 1 or 2 for pg_advisory_lock(); ours begin here. The tables of a schema follow.
constexpr std::uint16_t event_id = 0x5350;
constexpr std::uint16_t all_event_ids = 0x5351;
constexpr std::uint16_t flush_of_schema = 0x5352;
constexpr std::uint16_t part_of_schema = 0x5353;

// The server's table of locks is small: whatever a transaction changes, it locks no more than these.
constexpr std::uint32_t event_id_buckets = 1024;
constexpr std::uint32_t parts_of_schema = 64;

LOCKTAG tag_of_kind(Oid namespace_oid, std::uint32_t key, std::uint16_t kind) noexcept {
    LOCKTAG result;
    SET_LOCKTAG_ADVISORY(result, MyDatabaseId, namespace_oid, key, kind);
    return result;
}

LOCKTAG tag(Oid namespace_oid, std::uint32_t key, std::uint16_t table) noexcept {
    return tag_of_kind(namespace_oid, key, static_cast<std::uint16_t>(part_of_schema + table));
}

LOCKTAG part_tag(Oid namespace_oid, std::uint32_t part) noexcept {
    return tag_of_kind(namespace_oid, part, part_of_schema);
}

// In one order for everybody.
std::vector<std::uint32_t> buckets(std::span<const std::uint32_t> hashes, std::uint32_t count) {
    std::vector<std::uint32_t> result;
    for (const std::uint32_t hash : hashes) {
        result.push_back(hash % count);
    }
    std::sort(result.begin(), result.end());
    result.erase(std::unique(result.begin(), result.end()), result.end());
    return result;
}

LOCKTAG flush_tag(Oid namespace_oid) noexcept {
    return tag_of_kind(namespace_oid, 0, flush_of_schema);
}

void acquire_lock(PgFrame, const LOCKTAG& lock, LOCKMODE mode) {
    (void)LockAcquire(&lock, mode, false, false);
}

}  // namespace

// Before any row is locked.
KeyLocks::KeyLocks(Oid namespace_oid, std::span<const std::uint32_t> room_hashes, bool is_live, bool are_many)
    : namespace_oid_(namespace_oid), parts_(buckets(room_hashes, parts_of_schema)),
      all_keys_(is_live && are_many), exceptions_(std::uncaught_exceptions()) {
    const UnlimitedWaits unlimited_waits(is_live);
    call_pg([&](PgFrame frame) {
        for (const std::uint32_t part : parts_) {
            acquire_lock(frame, part_tag(namespace_oid_, part), all_keys_ ? ExclusiveLock : ShareLock);
        }
    });
}

KeyLocks::~KeyLocks() {
    // While an exception passes, the abort of the (sub)transaction releases everything.
    if (!all_keys_ && !is_any_kept_ && std::uncaught_exceptions() == exceptions_) {
        for (const std::uint32_t part : parts_) {
            const LOCKTAG lock = part_tag(namespace_oid_, part);
            LockRelease(&lock, ShareLock, false);
        }
    }
}

void KeyLocks::acquire(std::uint16_t table, std::uint32_t key_hash, std::size_t position) {
    if (all_keys_) {
        return;
    }
    Assert(pass_.empty() || pass_.back().table != table || pass_.back().position < position);
    call_pg([&](PgFrame frame) { acquire_lock(frame, tag(namespace_oid_, key_hash, table), ExclusiveLock); });
    pass_.push_back({table, key_hash, position});
}

void KeyLocks::release_pass(const std::vector<bool>& is_kept) {
    call_pg([&] {
        for (const Key& key : pass_) {
            if (is_kept[key.position]) {
                is_any_kept_ = true;
            } else {
                const LOCKTAG lock = tag(namespace_oid_, key.hash, key.table);
                LockRelease(&lock, ExclusiveLock, false);
            }
        }
    });
    pass_.clear();
}

bool try_flush_lock(Oid namespace_oid) {
    return call_pg([&] {
        const LOCKTAG lock = flush_tag(namespace_oid);
        return LockAcquire(&lock, ShareLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
    });
}

void wait_for_flush_lock(Oid namespace_oid, bool is_alone) {
    call_pg([&](PgFrame frame) {
        acquire_lock(frame, flush_tag(namespace_oid), is_alone ? ExclusiveLock : ShareLock);
    });
}

bool lock_event_ids(Oid namespace_oid, std::span<const std::string_view> event_ids, bool is_waiting) {
    std::vector<std::uint32_t> hashes;
    for (const std::string_view id : event_ids) {
        hashes.push_back(static_cast<std::uint32_t>(std::hash<std::string_view>{}(id)));
    }
    const std::vector<std::uint32_t> locked = buckets(hashes, event_id_buckets);
    return call_pg([&] {
        const auto acquire = [&](const LOCKTAG& lock, LOCKMODE mode) {
            return LockAcquire(&lock, mode, false, !is_waiting) != LOCKACQUIRE_NOT_AVAIL;
        };
        bool has_all = acquire(tag_of_kind(namespace_oid, 0, all_event_ids), ShareLock);
        for (const std::uint32_t bucket : locked) {
            has_all = has_all && acquire(tag_of_kind(namespace_oid, bucket, event_id), ExclusiveLock);
        }
        return has_all;
    });
}

bool try_lock_out_blind_changes(Oid namespace_oid) {
    return try_flush_lock(namespace_oid) && call_pg([&] {
               const LOCKTAG lock = tag_of_kind(namespace_oid, 0, all_event_ids);
               return LockAcquire(&lock, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
           });
}

}  // namespace sliding_sync
