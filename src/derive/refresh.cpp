#include "derive/refresh.hpp"

#include "derive/failure.hpp"
#include "pg/deferred_triggers.hpp"
#include "pg/fault_injection.hpp"
#include "pg/write_as.hpp"

namespace sliding_sync {

namespace {

// Bounds the memory of one pass; a pass holds the raw JSON of its keys.
constexpr std::size_t keys_per_pass = 500;

// Each round takes rows away that stood in the way of the round before; spoiled orderings form short chains.
constexpr int max_rounds = 10;

// Where the tables' owner has put triggers or rules on a derived table, what stands there may not be what was written.
template <typename Comparison, typename Stored>
void require_kept(const std::vector<Comparison>& compared, const std::vector<Stored>& stored,
                  const char* table) {
    for (std::size_t i = 0; i < compared.size(); ++i) {
        if (compared[i].expected != stored[i].row) {
            call_pg([&] {
                raise_pg_error(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION,
                               "a trigger or rule changes what sliding_sync writes",
                               psprintf("Table: %s.", table),
                               "Remove it, then call sliding_sync.repair_quarantine().");
            });
        }
    }
}

template <typename Stored>
std::size_t count_rows(const std::vector<Stored>& stored) {
    return static_cast<std::size_t>(
        std::count_if(stored.begin(), stored.end(), [](const Stored& key) { return key.row.has_value(); }));
}

/// The rooms' own rows.
class RoomRefresh {
public:
    using Key = RoomChange;
    using OwnedKey = std::string;

    RoomRefresh(const Homeserver& homeserver, rules::RefreshMode mode)
        : homeserver_(homeserver), statements_(homeserver.statements), mode_(mode) {}

    static constexpr const char* table = joined_rooms_table;

    [[nodiscard]] TableShape shape() const noexcept {
        return homeserver_.schema.joined_rooms;
    }
    static QuarantineKey quarantine_key(const RoomChange& room) {
        return {room.room_id, std::nullopt};
    }

    std::uint64_t refresh(std::span<const RoomChange> rooms) {
        const SpiConnection connection;
        const std::vector<std::string_view> room_ids = room_ids_of(rooms);
        if (mode_ != rules::RefreshMode::change) {
            statements_.rooms.lock_source_rows(room_ids);
        }
        const auto compared = compare_joined_rooms(statements_, rooms, statements_.rooms.lock(room_ids));
        JoinedRoomChanges changes;
        for (const RoomComparison& room : compared) {
            changes.add(room.room_id, room.stored, room.expected);
        }
        const std::uint64_t written = statements_.apply.joined_rooms(changes);
        if (written > 0 && !homeserver_.schema.joined_rooms_is_plain) {
            require_kept(compared, statements_.rooms.stored(room_ids), table);
        }
        return written;
    }

    void remove(std::span<const RoomChange> rooms) {
        const SpiConnection connection;
        const std::vector<std::string_view> room_ids = room_ids_of(rooms);
        const bool is_known = shape() == TableShape::known;
        const std::size_t there = is_known ? count_rows(statements_.rooms.lock(room_ids)) : 0;
        const std::size_t removed = statements_.apply.remove_joined_rooms(room_ids);
        require_written(removed, is_known ? there : removed, table);
    }

    // Another room whose row has the ordering that this one's must have.
    std::optional<std::string> conflicting_key(const RoomChange& room) {
        const SpiConnection connection;
        const auto expected = compare(room);
        const auto holder = expected
                                ? statements_.rooms.holder_of(expected->event_stream_ordering, room.room_id)
                                : std::nullopt;
        return holder ? std::optional<std::string>(*holder) : std::nullopt;
    }
    static RoomChange key_of(const std::string& room_id) {
        return whole_room(room_id);
    }

    bool refers_to_invisible_row(const RoomChange& room) {
        const SpiConnection connection;
        const auto expected = compare(room);
        return expected && !statements_.rooms.can_be_referred_to(*expected);
    }

private:
    std::optional<rules::JoinedRoom> compare(const RoomChange& room) {
        const std::array<std::string_view, 1> room_id{room.room_id};
        return compare_joined_rooms(statements_, {&room, 1}, statements_.rooms.lock(room_id))[0].expected;
    }

    const Homeserver& homeserver_;
    Statements& statements_;
    rules::RefreshMode mode_;
};

/// The snapshots of memberships.
class MembershipRefresh {
public:
    using Key = MembershipKey;
    using OwnedKey = std::pair<std::string, std::string>;

    MembershipRefresh(const Homeserver& homeserver, rules::RefreshMode mode, const Hints& hints)
        : homeserver_(homeserver), statements_(homeserver.statements), mode_(mode), hints_(hints) {}

    static constexpr const char* table = membership_snapshots_table;

    [[nodiscard]] TableShape shape() const noexcept {
        return homeserver_.schema.membership_snapshots;
    }
    static QuarantineKey quarantine_key(const MembershipKey& key) {
        return {key.room_id, key.user_id};
    }

    std::uint64_t refresh(std::span<const MembershipKey> keys) {
        const SpiConnection connection;
        if (mode_ != rules::RefreshMode::change) {
            statements_.memberships.lock_source_rows(keys);
        }
        const auto compared =
            compare_memberships(statements_, keys, statements_.memberships.lock(keys), hints_, mode_);
        MembershipChanges changes;
        for (const MembershipComparison& membership : compared) {
            changes.add(membership.key, membership.stored, membership.expected);
        }
        const std::uint64_t written = statements_.apply.memberships(changes);
        if (written > 0 && !homeserver_.schema.membership_snapshots_is_plain) {
            require_kept(compared, statements_.memberships.stored(keys), table);
        }
        return written;
    }

    void remove(std::span<const MembershipKey> keys) {
        const SpiConnection connection;
        const bool is_known = shape() == TableShape::known;
        const std::size_t there = is_known ? count_rows(statements_.memberships.lock(keys)) : 0;
        const std::size_t removed = statements_.apply.remove_memberships(keys);
        require_written(removed, is_known ? there : removed, table);
    }

    std::optional<std::pair<std::string, std::string>> conflicting_key(const MembershipKey& key) {
        const SpiConnection connection;
        const auto expected = compare(key);
        const auto holder =
            expected ? statements_.memberships.holder_of(expected->event_stream_ordering, key) : std::nullopt;
        return holder ? std::optional(std::pair(std::string(holder->room_id), std::string(holder->user_id)))
                      : std::nullopt;
    }
    static MembershipKey key_of(const std::pair<std::string, std::string>& key) {
        return {key.first, key.second};
    }

    bool refers_to_invisible_row(const MembershipKey& key) {
        const SpiConnection connection;
        const auto expected = compare(key);
        return expected && !statements_.memberships.can_be_referred_to(*expected);
    }

private:
    std::optional<rules::MembershipSnapshot> compare(const MembershipKey& key) {
        return compare_memberships(statements_, {&key, 1}, statements_.memberships.lock({&key, 1}), hints_,
                                   mode_)[0]
            .expected;
    }

    const Homeserver& homeserver_;
    Statements& statements_;
    rules::RefreshMode mode_;
    const Hints& hints_;
};

// A trigger of the tables' owner may call us in the middle of our own work. Deeper than this it would never end.
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

// Rows that stand in the way of others are wrong by definition. They are taken away, so that two that hold what the other one
// must have do not block each other, and made again after the others; what was in their way is taken away in turn.
template <typename Kind>
void refresh_pass(const Homeserver& homeserver, Kind& kind, std::span<const typename Kind::Key> keys,
                  bool is_recompute, Refreshed& refreshed, int round = 0) {
    const auto part = [&](std::size_t begin, std::size_t end) { return keys.subspan(begin, end - begin); };
    std::vector<typename Kind::OwnedKey> taken_away;
    GuardedWork work{Kind::table, keys.size(), {}, {}, {}, {}, {}, is_recompute};
    work.remove = [&](std::size_t begin, std::size_t end) { kind.remove(part(begin, end)); };
    work.work = [&](std::size_t begin, std::size_t end) {
        refreshed.rows_written += kind.refresh(part(begin, end));
    };
    if (kind.shape() != TableShape::known) {
        work.work = work.remove;
    }
    work.key = [&](std::size_t i) { return Kind::quarantine_key(keys[i]); };
    work.remove_conflicting = [&](std::size_t i) {
        const auto conflicting_key = round < max_rounds ? kind.conflicting_key(keys[i]) : std::nullopt;
        if (conflicting_key) {
            const typename Kind::Key key = Kind::key_of(*conflicting_key);
            kind.remove({&key, 1});
            taken_away.push_back(*conflicting_key);
        }
        return conflicting_key.has_value();
    };
    work.refers_to_invisible_row = [&](std::size_t i) { return kind.refers_to_invisible_row(keys[i]); };
    refreshed.quarantined += run_or_quarantine(homeserver.schema, work);
    std::sort(taken_away.begin(), taken_away.end());
    std::vector<typename Kind::Key> again;
    std::transform(taken_away.begin(), taken_away.end(), std::back_inserter(again), Kind::key_of);
    if (!again.empty()) {
        refresh_pass(homeserver, kind, std::span<const typename Kind::Key>(again), is_recompute, refreshed,
                     round + 1);
    }
}

template <typename Kind>
void refresh_passes(const Homeserver& homeserver, Kind kind, std::span<const typename Kind::Key> keys,
                    bool is_recompute, Refreshed& refreshed) {
    if (kind.shape() == TableShape::missing) {
        return;
    }
    for (std::size_t begin = 0; begin < keys.size(); begin += keys_per_pass) {
        refresh_pass(homeserver, kind, keys.subspan(begin, std::min(keys_per_pass, keys.size() - begin)),
                     is_recompute, refreshed);
    }
}

// The short cut of a message, whose orderings are known from its own row: nothing is read. It needs no subtransaction,
// which would cost every message a transaction id: constants on a row of a table without anything of its own, and an
// event that this transaction has stored, leave nothing to fail at but what the homeserver must see. For a single room: of
// several, each has its turn in the order of the keys.
bool raise(const Homeserver& homeserver, const RoomChange& room, Refreshed& refreshed) {
    const bool only_raises = !room.orderings && !room.state && room.latest;
    if (!only_raises || !homeserver.schema.joined_rooms_is_plain || is_injecting_faults()) {
        return false;
    }
    const SpiConnection connection;
    const auto written = homeserver.statements.apply.advance_orderings(
        {room.room_id, *room.latest, room.latest_bump, room.may_be_rewritten});
    refreshed.rows_written += written.value_or(0);
    return written.has_value();
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
    const WriteAs owner(homeserver.schema.derived_owner);
    // One order for every writer: no two refreshes wait for each other in a circle (H24).
    std::sort(changes.rooms.begin(), changes.rooms.end(),
              [](const RoomChange& a, const RoomChange& b) { return a.room_id < b.room_id; });
    std::sort(changes.memberships.begin(), changes.memberships.end());

    Hints hints;
    hints.before = std::move(changes.before);
    for (const RoomChange& room : changes.rooms) {
        if (room.oldest_new) {
            hints.oldest_new[room.room_id] = *room.oldest_new;
        }
    }
    if (homeserver.schema.has_unknown_table()) {
        return remove_everything(homeserver);
    }
    if (!homeserver.schema.joined_rooms_is_plain || !homeserver.schema.membership_snapshots_is_plain) {
        // a deferred trigger that refuses a row shall cost the row
        fire_deferred_triggers_at_once(homeserver.schema.derived_owner);
    }
    refreshed.joined_rooms = changes.rooms.size();
    refreshed.memberships = changes.memberships.size();
    const bool is_recompute = mode != rules::RefreshMode::change;
    if (changes.rooms.size() != 1 || !raise(homeserver, changes.rooms.front(), refreshed)) {
        refresh_passes(homeserver, RoomRefresh(homeserver, mode), std::span<const RoomChange>(changes.rooms),
                       is_recompute, refreshed);
    }
    refresh_passes(homeserver, MembershipRefresh(homeserver, mode, hints),
                   std::span<const MembershipKey>(changes.memberships), is_recompute, refreshed);
    return refreshed;
}

Refreshed remove_everything(const Homeserver& homeserver) {
    Refreshed refreshed;
    const WriteAs owner(homeserver.schema.derived_owner);
    const auto remove = [&](std::size_t, std::size_t) {
        const SpiConnection connection;
        refreshed.rows_written = homeserver.statements.apply.remove_all();
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
