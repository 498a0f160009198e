#include "derive/refresh.hpp"

#include <map>

#include "server/settings.hpp"
#include "server/transaction.hpp"

namespace sliding_sync {

namespace {

// Bounds the memory of one pass; a pass holds the raw JSON of its keys.
constexpr std::size_t keys_per_pass = 500;

// Under READ COMMITTED a row may be inserted by somebody else between our look and our write; then the key is
// looked at once more, now with a row to lock.
constexpr int attempts = 3;

std::vector<std::string_view> room_ids_of(std::span<const RoomChange> rooms) {
    std::vector<std::string_view> room_ids;
    room_ids.reserve(rooms.size());
    for (const RoomChange& room : rooms) {
        room_ids.push_back(room.room_id);
    }
    return room_ids;
}

// Current state of rooms, read at most once in a pass.
class StateReader {
public:
    explicit StateReader(RoomFacts& rooms) : rooms_(rooms) {}

    void read(const std::vector<std::string_view>& room_ids) {
        std::vector<std::string_view> missing;
        for (const std::string_view room_id : room_ids) {
            if (states_.emplace(room_id, rules::StateEvents{}).second) {
                missing.push_back(room_id);
            }
        }
        if (missing.empty()) {
            return;
        }
        const auto read = rooms_.current_state(missing);
        for (std::size_t i = 0; i < missing.size(); ++i) {
            states_[missing[i]] = read[i];
        }
    }

    [[nodiscard]] const rules::StateEvents& of(std::string_view room_id) const {
        return states_.at(room_id);
    }

private:
    RoomFacts& rooms_;
    std::map<std::string_view, rules::StateEvents> states_;
};

// What the rows of these rooms must be, compared with what they are.
JoinedRoomChanges compare_joined_rooms(RoomFacts& facts, StateReader& state,
                                       std::span<const RoomChange> rooms) {
    const std::vector<std::string_view> room_ids = room_ids_of(rooms);
    if (is_read_committed()) {
        facts.lock(room_ids);
    }
    const std::vector<StoredRoom> stored = facts.joined_rooms(room_ids);

    // A row that was right before needs only what changed; one that is new, or that somebody else may have written
    // in this transaction, is made from scratch.
    std::vector<std::string_view> need_state;
    std::vector<std::string_view> need_orderings;
    std::vector<bool> from_scratch(rooms.size());
    for (std::size_t i = 0; i < rooms.size(); ++i) {
        from_scratch[i] = !stored[i].row || stored[i].written_by_this_transaction;
        if (!stored[i].in_rooms) {
            continue;
        }
        if (from_scratch[i] || rooms[i].state) {
            need_state.push_back(rooms[i].room_id);
        }
    }
    state.read(need_state);
    for (std::size_t i = 0; i < rooms.size(); ++i) {
        if (!stored[i].in_rooms || !(from_scratch[i] || rooms[i].orderings)) {
            continue;
        }
        // a room without relevant state has no row, however many events it has
        if ((from_scratch[i] || rooms[i].state) && !rules::has_relevant_state(state.of(rooms[i].room_id))) {
            continue;
        }
        need_orderings.push_back(rooms[i].room_id);
    }
    std::map<std::string_view, Orderings> orderings;
    if (!need_orderings.empty()) {
        const auto read = facts.orderings(need_orderings);
        for (std::size_t i = 0; i < need_orderings.size(); ++i) {
            orderings[need_orderings[i]] = read[i];
        }
    }

    JoinedRoomChanges changes;
    for (std::size_t i = 0; i < rooms.size(); ++i) {
        const RoomChange& room = rooms[i];
        const bool state_is_new = from_scratch[i] || room.state;
        rules::JoinedRoomFacts room_facts;
        room_facts.room_id = room.room_id;
        room_facts.in_rooms = stored[i].in_rooms;
        if (stored[i].in_rooms && state_is_new) {
            room_facts.state_events = state.of(room.room_id);
        }
        if (const auto found = orderings.find(room.room_id); found != orderings.end()) {
            room_facts.latest_ordering = found->second.latest;
            room_facts.latest_bump_ordering = found->second.latest_bump;
        } else if (stored[i].row) {
            room_facts.latest_ordering = std::max(stored[i].row->event_stream_ordering,
                                                  room.latest.value_or(stored[i].row->event_stream_ordering));
            room_facts.latest_bump_ordering = std::max(stored[i].row->bump_stamp, room.latest_bump);
        }
        std::optional<rules::JoinedRoom> wanted;
        if (state_is_new || !stored[i].in_rooms) {
            wanted = rules::derive_joined_room(room_facts);
        } else if (room_facts.latest_ordering) {
            wanted = stored[i].row;
            wanted->event_stream_ordering = *room_facts.latest_ordering;
            wanted->bump_stamp = room_facts.latest_bump_ordering;
        }
        changes.add(room.room_id, stored[i].row, std::move(wanted));
    }
    return changes;
}

// Fetches the state that each membership's way (spec 3.5) asks for.
std::vector<rules::SnapshotInput>
snapshot_inputs(Street& street, StateReader& state, std::span<const MembershipKey> keys,
                std::span<StoredMembership> stored,
                const std::map<std::string_view, std::int64_t>& oldest_new) {
    std::vector<rules::SnapshotInput> inputs(keys.size());

    std::map<std::string_view, rules::StateEvents> wiped;
    for (std::size_t i = 0; i < keys.size(); ++i) {
        if (!stored[i].facts.event_id.empty() && !stored[i].facts.room_has_current_state) {
            wiped.emplace(keys[i].room_id, rules::StateEvents{});
        }
    }
    if (!wiped.empty()) {
        std::vector<std::string_view> room_ids;
        std::vector<std::optional<std::int64_t>> oldest;
        for (const auto& [room_id, unused] : wiped) {
            const auto found = oldest_new.find(room_id);
            room_ids.push_back(room_id);
            oldest.push_back(found != oldest_new.end() ? std::optional(found->second) : std::nullopt);
        }
        const auto state_before = street.rooms.wiped_state(room_ids, oldest);
        for (std::size_t i = 0; i < room_ids.size(); ++i) {
            wiped[room_ids[i]] = state_before[i];
        }
    }

    std::vector<std::string_view> current;
    std::vector<MembershipKey> invited;
    std::vector<std::string_view> but_not;
    std::vector<std::size_t> invited_places;
    std::vector<rules::SnapshotSource> sources(keys.size());
    for (std::size_t i = 0; i < keys.size(); ++i) {
        rules::MembershipFacts& membership = stored[i].facts;
        if (const auto found = wiped.find(keys[i].room_id); found != wiped.end()) {
            membership.room_had_current_state =
                membership.room_had_current_state || rules::has_relevant_state(found->second);
        }
        sources[i] = rules::snapshot_source(membership);
        if (sources[i] == rules::SnapshotSource::current_state) {
            current.push_back(keys[i].room_id);
        } else if (sources[i] == rules::SnapshotSource::wiped_state) {
            inputs[i].state_events = wiped.at(keys[i].room_id);
        } else if (sources[i] == rules::SnapshotSource::earlier_invite) {
            invited.push_back(keys[i]);
            but_not.push_back(membership.event_id);
            invited_places.push_back(i);
        }
    }
    state.read(current);
    for (std::size_t i = 0; i < keys.size(); ++i) {
        if (sources[i] == rules::SnapshotSource::current_state) {
            inputs[i].state_events = state.of(keys[i].room_id);
        }
    }
    if (!invited.empty()) {
        auto invites = street.memberships.earlier_invites(invited, but_not);
        for (std::size_t i = 0; i < invited.size(); ++i) {
            rules::SnapshotInput& input = inputs[invited_places[i]];
            input.earlier_invite_json = std::move(invites[i].json);
            input.earlier_invite_membership = std::move(invites[i].membership);
            input.earlier_invite_redacted = invites[i].redacted;
        }
    }
    return inputs;
}

MembershipChanges compare_memberships(Street& street, StateReader& state, std::span<const MembershipKey> keys,
                                      const std::map<std::string_view, std::int64_t>& oldest_new) {
    if (is_read_committed()) {
        street.memberships.lock(keys);
    }
    std::vector<StoredMembership> stored = street.memberships.memberships(keys);
    const std::vector<rules::SnapshotInput> inputs = snapshot_inputs(street, state, keys, stored, oldest_new);
    MembershipChanges changes;
    for (std::size_t i = 0; i < keys.size(); ++i) {
        changes.add(keys[i], stored[i].row, rules::derive_membership_snapshot(stored[i].facts, inputs[i]));
    }
    return changes;
}

std::uint64_t refresh_joined_rooms(Homeserver& homeserver, std::span<const RoomChange> rooms) {
    std::vector<RoomChange> pass(rooms.begin(), rooms.end());
    std::uint64_t written = 0;
    for (int attempt = 0; attempt < attempts && !pass.empty(); ++attempt) {
        const SpiConnection connection;
        StateReader state(homeserver.street->rooms);
        const JoinedRoomChanges changes = compare_joined_rooms(homeserver.street->rooms, state, pass);
        const auto applied = homeserver.street->apply.joined_rooms(changes);
        written += applied.written;
        std::erase_if(pass, [&](const RoomChange& room) {
            return std::find(applied.again.begin(), applied.again.end(), room.room_id) == applied.again.end();
        });
    }
    return written;
}

std::uint64_t refresh_memberships(Homeserver& homeserver, std::span<const MembershipKey> keys,
                                  const std::map<std::string_view, std::int64_t>& oldest_new) {
    std::vector<MembershipKey> pass(keys.begin(), keys.end());
    std::uint64_t written = 0;
    for (int attempt = 0; attempt < attempts && !pass.empty(); ++attempt) {
        const SpiConnection connection;
        StateReader state(homeserver.street->rooms);
        const MembershipChanges changes = compare_memberships(*homeserver.street, state, pass, oldest_new);
        const auto applied = homeserver.street->apply.memberships(changes);
        written += applied.written;
        std::erase_if(pass, [&](const MembershipKey& key) {
            return std::find(applied.again.begin(), applied.again.end(), key) == applied.again.end();
        });
    }
    return written;
}

bool only_raises(const RoomChange& room) noexcept {
    return !room.orderings && !room.state && !room.touched;
}

// A plain message raises two numbers: no facts are needed. What is left in `rooms` needs a closer look, rooms without
// a row among it (H89).
void raise(Homeserver& homeserver, std::vector<RoomChange>& rooms, Refreshed& refreshed) {
    std::vector<RaisedOrderings> raised;
    for (const RoomChange& room : rooms) {
        if (only_raises(room) && room.latest) {
            raised.push_back({room.room_id, *room.latest, room.latest_bump});
        }
    }
    std::vector<std::string_view> missing;
    const auto raise_all = [&] {
        const SpiConnection connection;
        const auto applied = homeserver.street->apply.raise_orderings(raised);
        refreshed.rows_written += applied.written;
        missing = applied.again;  // views on the caller's keys
    };
    if (!raised.empty()) {
        // Constants on existing rows of a plain table: only what the homeserver must see can go wrong, and a
        // subtransaction would cost every message a transaction id. Where more can, the rooms are looked at closer.
        const bool is_plain =
            homeserver.schema.joined_rooms_is_plain && (fault == nullptr || fault[0] == '\0');
        if (is_plain) {
            raise_all();
        } else if (run_in_subtransaction(raise_all) != nullptr) {
            return;
        }
    }
    std::erase_if(rooms, [&](const RoomChange& room) {
        return only_raises(room) && std::find(missing.begin(), missing.end(), room.room_id) == missing.end();
    });
}

template <typename Item, typename Pass>
void in_passes(const std::vector<Item>& items, Pass pass) {
    for (std::size_t begin = 0; begin < items.size(); begin += keys_per_pass) {
        pass(std::span<const Item>(items).subspan(begin, std::min(keys_per_pass, items.size() - begin)));
    }
}

}  // namespace

Refreshed& Refreshed::operator+=(const Refreshed& other) noexcept {
    joined_rooms += other.joined_rooms;
    memberships += other.memberships;
    rows_written += other.rows_written;
    failed += other.failed;
    return *this;
}

Refreshed refresh(Homeserver& homeserver, Changes changes) {
    Refreshed refreshed;
    const WriteAs owner(homeserver.schema.derived_owner);
    // One order for every writer: no two refreshes wait for each other in a circle (H24).
    std::sort(changes.rooms.begin(), changes.rooms.end(),
              [](const RoomChange& a, const RoomChange& b) { return a.room_id < b.room_id; });
    std::sort(changes.memberships.begin(), changes.memberships.end());

    std::map<std::string_view, std::int64_t> oldest_new;
    for (const RoomChange& room : changes.rooms) {
        if (room.oldest_new) {
            oldest_new[room.room_id] = *room.oldest_new;
        }
    }
    const HomeserverSchema& schema = homeserver.schema;
    if (schema.has_unknown_table()) {
        return remove_everything(homeserver);
    }
    refreshed.joined_rooms = changes.rooms.size();
    refreshed.memberships = changes.memberships.size();
    if (schema.joined_rooms == TableShape::known) {
        raise(homeserver, changes.rooms, refreshed);
    }
    if (schema.joined_rooms != TableShape::missing) {
        in_passes(changes.rooms, [&](std::span<const RoomChange> pass) {
            const auto remove = [&](std::size_t begin, std::size_t end) {
                const SpiConnection connection;
                homeserver.street->apply.remove_joined_rooms(room_ids_of(pass.subspan(begin, end - begin)));
            };
            const auto work = [&](std::size_t begin, std::size_t end) {
                refreshed.rows_written += refresh_joined_rooms(homeserver, pass.subspan(begin, end - begin));
            };
            const auto key = [&](std::size_t i) { return QuarantineKey{pass[i].room_id, std::nullopt}; };
            const bool is_known = schema.joined_rooms == TableShape::known;
            refreshed.failed +=
                carry_out(schema, homeserver.fuse,
                          {joined_rooms_table, pass.size(),
                           is_known ? GuardedWork::Step(work) : GuardedWork::Step(remove), remove, key});
        });
    }
    if (schema.membership_snapshots != TableShape::missing) {
        in_passes(changes.memberships, [&](std::span<const MembershipKey> pass) {
            const auto remove = [&](std::size_t begin, std::size_t end) {
                const SpiConnection connection;
                homeserver.street->apply.remove_memberships(pass.subspan(begin, end - begin));
            };
            const auto work = [&](std::size_t begin, std::size_t end) {
                refreshed.rows_written +=
                    refresh_memberships(homeserver, pass.subspan(begin, end - begin), oldest_new);
            };
            const auto key = [&](std::size_t i) { return QuarantineKey{pass[i].room_id, pass[i].user_id}; };
            const bool is_known = schema.membership_snapshots == TableShape::known;
            refreshed.failed +=
                carry_out(schema, homeserver.fuse,
                          {membership_snapshots_table, pass.size(),
                           is_known ? GuardedWork::Step(work) : GuardedWork::Step(remove), remove, key});
        });
    }
    return refreshed;
}

Refreshed remove_everything(Homeserver& homeserver) {
    Refreshed refreshed;
    const WriteAs owner(homeserver.schema.derived_owner);
    const auto remove = [&](std::size_t, std::size_t) {
        const SpiConnection connection;
        refreshed.rows_written = homeserver.street->apply.remove_all();
    };
    const auto nothing = [](std::size_t) { return QuarantineKey{"", std::nullopt}; };
    refreshed.failed = carry_out(homeserver.schema, homeserver.fuse, {"", 1, remove, remove, nothing});
    if (refreshed.rows_written > 0) {
        note_unreadable(homeserver.schema);
    }
    return refreshed;
}

}  // namespace sliding_sync
