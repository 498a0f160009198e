#include "derive/refresh.hpp"

#include "derive/deferred_triggers.hpp"
#include "derive/failure.hpp"
#include "derive/table_refresh.hpp"
#include "derive/write_as.hpp"
#include "pg/fault_injection.hpp"

namespace sliding_sync {

namespace {

// Bounds the memory of one pass; a pass holds the raw JSON of its keys.
constexpr std::size_t keys_per_pass = 500;

// Each round takes rows away that stood in the way of the round before; spoiled orderings form short chains.
constexpr int max_rounds = 10;

QuarantineKey quarantine_key(std::string_view room_id) {
    return {room_id, std::nullopt};
}
QuarantineKey quarantine_key(const MembershipKey& key) {
    return {key.room_id, key.user_id};
}

// A trigger of the tables' owner may call us in the middle of our own work. Deeper than this it would never
// end.
class Depth {
public:
    Depth() {
        if (depth == deepest) {
            throw Error(ERRCODE_STATEMENT_TOO_COMPLEX, "sliding_sync was called too deep in its own work",
                        "A trigger of a derived table makes derived rows, which fires it again.");
        }
        ++depth;
    }
    ~Depth() {
        --depth;
    }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;

private:
    static constexpr int deepest = 3;
    static inline int depth = 0;
};

// Rows that stand in the way of others are wrong by definition. They are taken away, so that two that hold
// what the other one must have do not block each other, and made again after the others; what was in their
// way is taken away in turn.
template <typename Table>
void refresh_pass(TableRefresh<Table>& table, const HomeserverSchema& schema,
                  std::span<const typename TableRefresh<Table>::Change> changes, Refreshed& refreshed,
                  int round = 0) {
    using Change = typename TableRefresh<Table>::Change;
    const auto part = [&](std::size_t begin, std::size_t end) { return changes.subspan(begin, end - begin); };
    std::vector<typename TableRefresh<Table>::OwnedKey> taken_away;
    GuardedWork work{Table::name, changes.size(), {}, {}, {}, {}, {}, table.is_recompute()};
    work.remove = [&](std::size_t begin, std::size_t end) { table.remove(part(begin, end)); };
    work.work = [&](std::size_t begin, std::size_t end) {
        refreshed.rows_written += table.refresh(part(begin, end));
    };
    if (table.shape() != TableShape::known) {
        work.work = work.remove;
    }
    work.key = [&](std::size_t i) { return quarantine_key(keys_of(part(i, i + 1))[0]); };
    work.remove_conflicting = [&](std::size_t i) {
        const auto conflicting = round < max_rounds ? table.conflicting_key(changes[i]) : std::nullopt;
        if (conflicting) {
            const Change change = change_of(*conflicting);
            table.remove({&change, 1});
            taken_away.push_back(*conflicting);
        }
        return conflicting.has_value();
    };
    work.refers_to_invisible_row = [&](std::size_t i) { return table.refers_to_invisible_row(changes[i]); };
    refreshed.quarantined += run_or_quarantine(schema, work);
    std::sort(taken_away.begin(), taken_away.end());
    std::vector<Change> retry;
    std::transform(taken_away.begin(), taken_away.end(), std::back_inserter(retry),
                   [](const auto& key) { return change_of(key); });
    if (!retry.empty()) {
        refresh_pass(table, schema, std::span<const Change>(retry), refreshed, round + 1);
    }
}

template <typename Table>
void refresh_passes(TableRefresh<Table> table, const HomeserverSchema& schema,
                    std::span<const typename TableRefresh<Table>::Change> changes, Refreshed& refreshed) {
    if (table.shape() == TableShape::missing) {
        return;
    }
    for (std::size_t begin = 0; begin < changes.size(); begin += keys_per_pass) {
        refresh_pass(table, schema, changes.subspan(begin, std::min(keys_per_pass, changes.size() - begin)),
                     refreshed);
    }
}

// It needs no subtransaction, which would cost every message a transaction id: constants on a row of a table
// without anything of its own, and an event that this transaction has stored, leave nothing to fail at but
// what the homeserver must see. For a single room: of several, each has its turn in the order of the keys.
bool advance(const Homeserver& homeserver, const RoomChange& room, Refreshed& refreshed) {
    const bool is_plain_message =
        !room.orderings && !room.state && room.new_redactions.empty() && room.latest;
    if (!is_plain_message || !homeserver.schema.joined_rooms_is_plain || is_injecting_faults()) {
        return false;
    }
    const WriteAs owner(homeserver.schema.derived_owner);
    const SpiConnection connection;
    if (!stay_plain(homeserver, {{joined_rooms_table}})) {
        return false;
    }
    if (room.has_member_events) {
        LookupScope scope;
        if (homeserver.statements.redacted.may_have_bans(scope, room.room_id)) {
            return false;
        }
    }
    const auto written = homeserver.statements.message_fast_path.advance(
        {room.room_id, *room.latest, room.latest_bump, room.latest_event_id, room.latest_bump_event_id,
         room.may_be_rewritten});
    refreshed.rows_written += written.value_or(0);
    if (written.value_or(0) > 0) {
        note_own_rows();
    }
    return written.has_value();
}

std::vector<std::uint32_t> room_hashes(const Changes& changes) {
    std::vector<std::uint32_t> hashes;
    for (const RoomChange& room : changes.rooms) {
        hashes.push_back(key_hash(room.room_id));
    }
    for (const MembershipKey& membership : changes.memberships) {
        hashes.push_back(key_hash(membership.room_id));
    }
    return hashes;
}

// Locks may have been waited for since the homeserver was looked up: its tables may look different now.
Refreshed refresh_as_it_is_now(Oid namespace_oid, Changes changes, rules::RefreshMode mode) {
    Refreshed refreshed;
    hear_of_changes();
    const std::uint64_t generation = catalog_generation();
    const auto held = homeserver_in(namespace_oid);
    const Homeserver& homeserver = *held;
    if (!OidIsValid(homeserver.schema.derived_owner)) {
        return refreshed;
    }
    const WriteAs owner(homeserver.schema.derived_owner);
    // One order for every writer: no two refreshes wait for each other in a circle (H24).
    std::sort(changes.rooms.begin(), changes.rooms.end(),
              [](const RoomChange& a, const RoomChange& b) { return a.room_id < b.room_id; });
    std::sort(changes.memberships.begin(), changes.memberships.end());

    RefreshScope scope;
    scope.before = std::move(changes.before);
    scope.keep_changing = changes.keep_changing;
    scope.generation = generation;
    scope.notes_corrections = mode == rules::RefreshMode::live && may_note_corrections();
    for (const RoomChange& room : changes.rooms) {
        if (room.oldest_new) {
            scope.oldest_new[room.room_id] = *room.oldest_new;
        }
    }
    if (homeserver.schema.has_unknown_table()) {
        return remove_everything(homeserver);
    }
    if (!homeserver.schema.joined_rooms_is_plain || !homeserver.snapshots_are_plain()) {
        // a deferred trigger that refuses a row shall cost the row
        fire_deferred_triggers_at_once(homeserver.schema.derived_owner);
    }
    refreshed.joined_rooms = changes.rooms.size();
    refreshed.memberships = changes.memberships.size();
    const bool are_many = changes.rooms.size() + changes.memberships.size() > keys_per_pass;
    KeyLocks locks(homeserver.schema.namespace_oid, room_hashes(changes), mode == rules::RefreshMode::live,
                   are_many);
    Statements& statements = homeserver.statements;
    refresh_passes(TableRefresh<JoinedRooms>(homeserver, statements.joined_rooms, mode, scope, locks),
                   homeserver.schema, changes.rooms, refreshed);
    refresh_passes(TableRefresh<MembershipSnapshots>(homeserver, statements.snapshots, mode, scope, locks),
                   homeserver.schema, changes.memberships, refreshed);
    log_corrections(homeserver.schema, scope.corrections);
    return refreshed;
}

}  // namespace

Refreshed& Refreshed::operator+=(const Refreshed& other) noexcept {
    joined_rooms += other.joined_rooms;
    memberships += other.memberships;
    rows_written += other.rows_written;
    quarantined += other.quarantined;
    return *this;
}

Refreshed refresh(const Homeserver& homeserver, Changes changes, rules::RefreshMode mode) {
    const Depth depth;
    Refreshed refreshed;
    if (!changes.keep_changing && changes.rooms.size() == 1 &&
        advance(homeserver, changes.rooms.front(), refreshed)) {
        refreshed.joined_rooms = 1;
        changes.rooms.clear();
    }
    if (!changes.rooms.empty() || !changes.memberships.empty()) {
        refreshed += refresh_as_it_is_now(homeserver.schema.namespace_oid, std::move(changes), mode);
    }
    return refreshed;
}

Refreshed remove_everything(const Homeserver& homeserver) {
    Refreshed refreshed;
    const WriteAs owner(homeserver.schema.derived_owner);
    const auto remove = [&](std::size_t, std::size_t) {
        const SpiConnection connection;
        refreshed.rows_written = 0;
        if (homeserver.schema.joined_rooms != TableShape::missing) {
            refreshed.rows_written += homeserver.statements.joined_rooms.remove_all();
        }
        if (homeserver.schema.membership_snapshots != TableShape::missing) {
            refreshed.rows_written += homeserver.statements.snapshots.remove_all();
        }
    };
    GuardedWork work{"", 1, remove, remove, {}, {}, {}};
    work.key = [](std::size_t) { return QuarantineKey{"", std::nullopt}; };
    refreshed.quarantined = run_or_quarantine(homeserver.schema, work);
    if (refreshed.rows_written > 0) {
        quarantine_all(homeserver.schema);
    }
    return refreshed;
}

}  // namespace sliding_sync
