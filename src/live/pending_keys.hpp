// Which keys this transaction touched: collected row by row, read once before commit.
//
// Collecting: a trigger makes a key pending: a room with what is known of the change, a (room, user) pair, or
// an event whose room is found out later. One PendingKeys a homeserver, three hash tables each, made when the
// first key needs them: a message has a room only. A key counts once, so memory grows with keys and not with
// rows. Everything here is plain C in style: it runs once a row inside the server, may be left by longjmp,
// and allocates only at the first sight of a key.
//
// Flushing: before COMMIT or PREPARE TRANSACTION, and in flush(), `take_pending_keys` hands all of them over
// and begins an empty set, since the refresh may fire triggers that make keys pending again; live/flush.cpp
// goes on until none come.
//
// Savepoints: keys stay when one is rolled back, which costs at most a look at a key that did not change.
// Hints (orderings, what stood before) may come from rows that are gone then, and are distrusted from there
// on: the rooms are computed from the tables.
//
// Ownership: keys, their texts and the tables live in one memory context below TopTransactionContext. The end
// of the transaction frees it; `forget_pending_keys` only drops the pointers. No locks: a pending key is this
// backend's own.
#pragma once

#include "derive/refresh.hpp"

extern "C" {
#include "utils/hsearch.h"
}

namespace sliding_sync {

/// A text key in the memory of the transaction; hashed once.
struct TextKey {
    const char* data;
    std::uint32_t size;
    std::uint32_t hash;
};

/// An event's id, whose place the next one takes.
struct NotedEventId {
    char* data;
    std::uint32_t size;
    std::uint32_t capacity;
};

struct PendingRoom {
    TextKey room_id;  // the hash key: must be first
    bool orderings;
    bool state;
    bool may_be_rewritten;
    bool memberships;  ///< look at all memberships of the room
    /// Look at those whose snapshot is missing, knows nothing, or is of a very old event.
    bool incomplete_memberships;
    std::int64_t latest;       ///< PG_INT64_MIN: none
    std::int64_t latest_bump;  ///< PG_INT64_MIN: none
    std::int64_t oldest_new;   ///< PG_INT64_MAX: none
    NotedEventId latest_event_id;
    NotedEventId latest_bump_event_id;
    /// The last of each kind that was inserted (RoomState): whoever redacts it may not see it yet.
    std::array<NotedEventId, rules::state_kind_count> state_event_ids;
    bool member_events;  ///< a ban may have named one of them, as what redacts, before it was stored
    /// XOR over the hashes of the ids inserted into `events` and `event_json`: zero when every new event came
    /// with its JSON, which is the usual case.
    std::uint64_t unpaired_event_ids;
    /// The same over the membership events inserted into `events`, and over `room_memberships`.
    std::uint64_t unpaired_member_ids;
};

/// Which event stood in local_current_membership before this transaction, as the first change of the row
/// told.
enum class BeforeTransaction : std::uint8_t { unknown, no_membership, membership };

struct PendingMembership {
    TextKey room_id;  // both together are the hash key
    TextKey user_id;
    BeforeTransaction before;
    TextKey event_id_before;
    /// Only an event or its state tells of it: the user may be none of this homeserver's.
    bool may_be_remote;
};

struct PendingEvent {
    TextKey event_id;
    bool redaction;      ///< it redacts, or is redacted: the state it stands in may read differently
    bool new_redaction;  ///< it has begun to redact, and nothing it redacts can have become readable
    bool is_named;       ///< a row of `redactions` names it that was inserted, changed or deleted
    bool rejection;      ///< its rejection changed
    bool membership;     ///< it makes a membership, or redacts what makes one, that may read differently
};

/// The keys of one homeserver.
struct PendingKeys {
    Oid namespace_oid;
    std::uint64_t generation;  ///< of the catalog, when the first key was noted
    HTAB* rooms;  ///< this and the other two: null until one is noted, a message notes a room only
    HTAB* memberships;
    HTAB* events;
    bool all_rooms;        ///< TRUNCATE: any room may have changed
    bool all_memberships;  ///< TRUNCATE: any membership may be gone
    bool unreadable;       ///< a row's key could not be read: any row may be wrong
    bool is_later_flush;   ///< an earlier flush of this transaction has taken other keys
    PendingRoom* last_room;
    PendingKeys* next;
};

/// The keys of the homeserver in this schema, made at first use. Raises an error inside a security-restricted
/// operation, where what is noted would be carried out later with other rights
/// (docs/architecture.md#collect).
PendingKeys& pending_keys(Oid namespace_oid);

PendingRoom& pending_room(PendingKeys& keys, std::string_view room_id);
void note(NotedEventId& noted, std::string_view event_id);
PendingMembership& pending_membership(PendingKeys& keys, std::string_view room_id, std::string_view user_id);
/// The same for a membership of whatever server: it counts if local_current_membership has it when the
/// transaction ends.
void pending_member(PendingKeys& keys, std::string_view room_id, std::string_view user_id);
/// The same for a row of local_current_membership: empty when it was inserted, its event when that is
/// replaced or gone.
void record_local_membership(PendingKeys& keys, std::string_view room_id, std::string_view user_id,
                             std::string_view event_id_before);
PendingEvent& pending_event(PendingKeys& keys, std::string_view event_id);

/// True when something is noted that no `take_pending_keys` has taken.
[[nodiscard]] bool has_pending_keys() noexcept;

/// All noted keys of the transaction, by homeserver; null when there are none.
[[nodiscard]] PendingKeys* current_pending_keys() noexcept;

/// Hands them over and begins an empty set; what was handed over lives until the transaction ends.
[[nodiscard]] PendingKeys* take_pending_keys() noexcept;

/// Ordering hints collected from inserts are invalid after a rollback to a savepoint: from here on every
/// pending room is recomputed from the tables (docs/architecture.md#collect). Constant cost, however many
/// savepoints there are.
void distrust_hints() noexcept;
[[nodiscard]] bool hints_are_distrusted() noexcept;

/// Forgets everything at the end of the transaction.
void forget_pending_keys() noexcept;

// For C++ code, which reads them before commit.

inline std::string_view view(const TextKey& key) noexcept {
    return {key.data, key.size};
}

/// Visits every entry of one of the tables of PendingKeys, which may be null. `visit` may throw and may note
/// more.
template <typename Entry, typename Visit>
void for_each(HTAB* table, Visit visit) {
    if (table == nullptr) {
        return;
    }
    // A scan that an exception leaves would stay registered with the server: take the entries out first.
    std::vector<Entry*> entries(static_cast<std::size_t>(hash_get_num_entries(table)));
    call_pg([&] {
        HASH_SEQ_STATUS scan;
        hash_seq_init(&scan, table);
        std::size_t i = 0;
        while (auto* const entry = static_cast<Entry*>(hash_seq_search(&scan))) {
            entries[i++] = entry;
        }
    });
    for (Entry* const entry : entries) {
        visit(*entry);
    }
}

}  // namespace sliding_sync
