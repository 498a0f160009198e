#include "live/pending_keys.hpp"

#include "derive/write_as.hpp"
#include "pg/catalog.hpp"
#include "shared/base_tables.hpp"

extern "C" {
#include "common/hashfn.h"
#include "utils/memutils.h"
}

namespace sliding_sync {

namespace {

PendingKeys* noted = nullptr;
MemoryContext pending_context = nullptr;  // a child of TopTransactionContext
bool distrusted = false;
bool taken = false;

TextKey text_key(std::string_view text) noexcept {
    return {text.data(), static_cast<std::uint32_t>(text.size()),
            // a quarter of what the server's own hash costs for names of this length
            static_cast<std::uint32_t>(std::hash<std::string_view>{}(text))};
}

bool same(const TextKey& a, const TextKey& b) noexcept {
    return a.hash == b.hash && a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

// A copy that lives as long as the transaction. Made before the key enters a table: a table must never point
// into memory that an error on the way has taken back.
TextKey owned(TextKey key) {
    char* const copy =
        static_cast<char*>(MemoryContextAlloc(pending_context, std::max<std::uint32_t>(1, key.size)));
    memcpy(copy, key.data, key.size);
    key.data = copy;
    return key;
}

template <typename Entry, typename Key>
Entry* find(HTAB* table, const Key& key) {
    return table == nullptr ? nullptr : static_cast<Entry*>(hash_search(table, &key, HASH_FIND, nullptr));
}

template <typename Entry, typename Key>
Entry* enter(HTAB* table, const Key& owned_key) {
    return static_cast<Entry*>(hash_search(table, &owned_key, HASH_ENTER, nullptr));
}

uint32 hash_text(const void* key, Size) {
    return static_cast<const TextKey*>(key)->hash;
}

int compare_text(const void* a, const void* b, Size) {
    return same(*static_cast<const TextKey*>(a), *static_cast<const TextKey*>(b)) ? 0 : 1;
}

uint32 hash_text_pair(const void* key, Size) {
    const auto* pair = static_cast<const TextKey*>(key);
    return hash_combine(pair[0].hash, pair[1].hash);
}

int compare_text_pair(const void* a, const void* b, Size) {
    const auto* left = static_cast<const TextKey*>(a);
    const auto* right = static_cast<const TextKey*>(b);
    return same(left[0], right[0]) && same(left[1], right[1]) ? 0 : 1;
}

HTAB* make_table(const char* name, Size key_size, Size entry_size, HashValueFunc hash,
                 HashCompareFunc compare) {
    HASHCTL control{};
    control.keysize = key_size;
    control.entrysize = entry_size;
    control.hash = hash;
    control.match = compare;
    control.hcxt = pending_context;
    return hash_create(name, 16, &control, HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
}

// A trigger of any of them may be missing for a while. Returns the generation from which on that is noticed.
std::uint64_t watch_base_tables(Oid namespace_oid) {
    static Oid watched_namespace = InvalidOid;
    static std::uint64_t generation = 0;
    if (watched_namespace != namespace_oid || generation != catalog_generation()) {
        watched_namespace = InvalidOid;  // what follows may be left by longjmp
        generation = catalog_generation();
        for (const char* const table : base_table_names) {
            (void)watched_relation(table, namespace_oid);
        }
        watched_namespace = namespace_oid;
    }
    return generation;
}

}  // namespace

PendingKeys& pending_keys(Oid namespace_oid) {
    if (InSecurityRestrictedOperation() && !WriteAs::is_restricting()) {
        raise_pg_error(ERRCODE_INSUFFICIENT_PRIVILEGE,
                       "sliding_sync cannot note changes within a security-restricted operation");
    }
    for (PendingKeys* keys = noted; keys != nullptr; keys = keys->next) {
        if (keys->namespace_oid == namespace_oid) {
            return *keys;
        }
    }
    if (pending_context == nullptr) {
        pending_context =
            AllocSetContextCreate(TopTransactionContext, "sliding_sync changed keys", ALLOCSET_SMALL_SIZES);
    }
    auto* const keys =
        static_cast<PendingKeys*>(MemoryContextAllocZero(pending_context, sizeof(PendingKeys)));
    keys->namespace_oid = namespace_oid;
    keys->generation = watch_base_tables(namespace_oid);
    keys->is_later_flush = taken;
    keys->next = noted;
    noted = keys;
    return *keys;
}

PendingRoom& pending_room(PendingKeys& keys, std::string_view room_id) {
    // Rows come in runs of one room.
    if (keys.last_room != nullptr && keys.last_room->room_id.size == room_id.size() &&
        memcmp(keys.last_room->room_id.data, room_id.data(), room_id.size()) == 0) {
        return *keys.last_room;
    }
    const TextKey key = text_key(room_id);
    auto* room = find<PendingRoom>(keys.rooms, key);
    if (room == nullptr) {
        PendingRoom fresh{};
        fresh.room_id = owned(key);
        fresh.latest = PG_INT64_MIN;
        fresh.latest_bump = PG_INT64_MIN;
        fresh.oldest_new = PG_INT64_MAX;
        if (keys.rooms == nullptr) {
            keys.rooms = make_table("sliding_sync rooms", sizeof(TextKey), sizeof(PendingRoom), hash_text,
                                    compare_text);
        }
        room = enter<PendingRoom>(keys.rooms, fresh.room_id);
        *room = fresh;
    }
    keys.last_room = room;
    return *room;
}

namespace {

PendingMembership& find_or_enter(PendingKeys& keys, std::string_view room_id, std::string_view user_id) {
    PendingMembership key{text_key(room_id), text_key(user_id), BeforeTransaction::unknown, {}, true};
    auto* membership = find<PendingMembership>(keys.memberships, key);
    if (membership == nullptr) {
        key.room_id = owned(key.room_id);
        key.user_id = owned(key.user_id);
        if (keys.memberships == nullptr) {
            keys.memberships = make_table("sliding_sync memberships", sizeof(PendingMembership),
                                          sizeof(PendingMembership), hash_text_pair, compare_text_pair);
        }
        membership = enter<PendingMembership>(keys.memberships, key);
        *membership = key;
    }
    return *membership;
}

}  // namespace

PendingMembership& pending_membership(PendingKeys& keys, std::string_view room_id, std::string_view user_id) {
    PendingMembership& membership = find_or_enter(keys, room_id, user_id);
    membership.may_be_remote = false;
    return membership;
}

void pending_member(PendingKeys& keys, std::string_view room_id, std::string_view user_id) {
    (void)find_or_enter(keys, room_id, user_id);
}

void record_local_membership(PendingKeys& keys, std::string_view room_id, std::string_view user_id,
                             std::string_view event_id_before) {
    PendingMembership& membership = pending_membership(keys, room_id, user_id);
    // A TRUNCATE tells of no row, and what is inserted after it may have stood there before.
    if (membership.before != BeforeTransaction::unknown || keys.all_memberships) {
        return;
    }
    if (event_id_before.empty()) {
        membership.before = BeforeTransaction::no_membership;
    } else {
        membership.event_id_before = owned(text_key(event_id_before));
        membership.before = BeforeTransaction::membership;
    }
}

void note(NotedEventId& noted, std::string_view event_id) {
    constexpr std::size_t longest_of_most = 64;  // $ and a hash
    const auto size = static_cast<std::uint32_t>(event_id.size());
    if (size > noted.capacity) {
        noted.capacity = static_cast<std::uint32_t>(std::max<std::size_t>(longest_of_most, size));
        noted.data = static_cast<char*>(MemoryContextAlloc(pending_context, noted.capacity));
    }
    std::copy(event_id.begin(), event_id.end(), noted.data);
    noted.size = size;
}

PendingEvent& pending_event(PendingKeys& keys, std::string_view event_id) {
    const TextKey key = text_key(event_id);
    auto* event = find<PendingEvent>(keys.events, key);
    if (event == nullptr) {
        const TextKey owned_key = owned(key);
        if (keys.events == nullptr) {
            keys.events = make_table("sliding_sync events", sizeof(TextKey), sizeof(PendingEvent), hash_text,
                                     compare_text);
        }
        event = enter<PendingEvent>(keys.events, owned_key);
        *event = PendingEvent{owned_key, false, false, false, false, false};
    }
    return *event;
}

bool has_pending_keys() noexcept {
    return noted != nullptr;
}

PendingKeys* current_pending_keys() noexcept {
    return noted;
}

PendingKeys* take_pending_keys() noexcept {
    taken = true;
    return std::exchange(noted, nullptr);
}

void distrust_hints() noexcept {
    distrusted = distrusted || noted != nullptr;
}

bool hints_are_distrusted() noexcept {
    return distrusted;
}

void forget_pending_keys() noexcept {
    noted = nullptr;
    pending_context = nullptr;  // its memory goes with TopTransactionContext
    distrusted = false;
    taken = false;
}

}  // namespace sliding_sync
