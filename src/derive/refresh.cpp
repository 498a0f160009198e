#include "derive/refresh.hpp"

#include "server/fault.hpp"
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

// Two transactions that take events away from one room may each find, in snapshots of their own, that an event of the
// other's is the newest, and have nothing to write. So whoever looks for the newest event again looks one after the
// other, at what is there by now.
bool may_lower(std::span<const RoomChange> rooms) noexcept {
    return std::any_of(rooms.begin(), rooms.end(), [](const RoomChange& room) { return room.orderings; });
}

std::uint64_t refresh_joined_rooms(Homeserver& homeserver, std::span<const RoomChange> rooms,
                                   rules::Occasion occasion) {
    Street& street = *homeserver.street;
    std::vector<RoomChange> pass(rooms.begin(), rooms.end());
    std::uint64_t written = 0;
    for (int attempt = 0; attempt < attempts && !pass.empty(); ++attempt) {
        const SpiConnection connection;
        const std::vector<std::string_view> room_ids = room_ids_of(pass);
        if (occasion != rules::Occasion::change) {
            street.rooms.lock_inputs(room_ids);
        }
        std::optional<AsOfNow> now;
        if (is_read_committed() || (occasion == rules::Occasion::change && may_lower(pass))) {
            street.rooms.lock(room_ids);
            now.emplace();
        }
        JoinedRoomChanges changes;
        std::vector<std::string_view> absent;
        for (RoomComparison& room : compare_joined_rooms(street, pass)) {
            if (!room.stored && !room.wanted) {
                absent.push_back(room.room_id);
            }
            changes.add(room.room_id, room.stored, std::move(room.wanted));
        }
        if (!now && !absent.empty()) {
            refuse_hidden_rows(street.rooms.exist_by_now(absent));
        }
        const auto applied = street.apply.joined_rooms(changes);
        written += applied.written;
        std::erase_if(pass, [&](const RoomChange& room) {
            return std::find(applied.again.begin(), applied.again.end(), room.room_id) == applied.again.end();
        });
    }
    return written;
}

std::uint64_t refresh_memberships(Homeserver& homeserver, std::span<const MembershipKey> keys,
                                  const Hints& hints, rules::Occasion occasion) {
    Street& street = *homeserver.street;
    std::vector<MembershipKey> pass(keys.begin(), keys.end());
    std::uint64_t written = 0;
    for (int attempt = 0; attempt < attempts && !pass.empty(); ++attempt) {
        const SpiConnection connection;
        if (occasion != rules::Occasion::change) {
            street.memberships.lock_inputs(pass);
        }
        if (is_read_committed()) {
            street.memberships.lock(pass);
        }
        MembershipChanges changes;
        std::vector<MembershipKey> absent;
        for (MembershipComparison& membership : compare_memberships(street, pass, hints, occasion)) {
            if (!membership.stored && !membership.wanted) {
                absent.push_back(membership.key);
            }
            changes.add(membership.key, membership.stored, std::move(membership.wanted));
        }
        if (!is_read_committed() && !absent.empty()) {
            refuse_hidden_rows(street.memberships.exist_by_now(absent));
        }
        const auto applied = street.apply.memberships(changes);
        written += applied.written;
        std::erase_if(pass, [&](const MembershipKey& key) {
            return std::find(applied.again.begin(), applied.again.end(), key) == applied.again.end();
        });
    }
    return written;
}

// What stands for a refresh that failed. A row that somebody is making at this moment, from what we have changed, must
// not be left behind either.
void remove_joined_rooms(Homeserver& homeserver, const std::vector<std::string_view>& room_ids) {
    Apply& apply = homeserver.street->apply;
    const auto remove = [&] {
        const SpiConnection connection;
        return apply.remove_joined_rooms(room_ids);
    };
    if (remove() < room_ids.size() && homeserver.schema.joined_rooms == TableShape::known) {
        apply.await_joined_rooms(room_ids);
        remove();
    }
}

void remove_memberships(Homeserver& homeserver, std::span<const MembershipKey> keys) {
    Apply& apply = homeserver.street->apply;
    const auto remove = [&] {
        const SpiConnection connection;
        return apply.remove_memberships(keys);
    };
    if (remove() < keys.size() && homeserver.schema.membership_snapshots == TableShape::known) {
        apply.await_memberships(keys);
        remove();
    }
}

// True when nothing of the room's row changed but its two numbers. Another writer may have written the row in this
// transaction: for a single room a look is cheap, several are looked at closer at once.
bool only_raises(const RoomChange& room, bool is_single) noexcept {
    return !room.orderings && !room.state && (!room.touched || (is_single && room.latest));
}

// A plain message raises two numbers: no facts are needed. What is left in `rooms` needs a closer look, rooms without
// a row among it (H89).
void raise(Homeserver& homeserver, std::vector<RoomChange>& rooms, Refreshed& refreshed) {
    const bool is_single = rooms.size() == 1;
    std::vector<RaisedOrderings> raised;
    for (const RoomChange& room : rooms) {
        if (only_raises(room, is_single) && room.latest) {
            raised.push_back({room.room_id, *room.latest, room.latest_bump, room.touched});
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
        const bool is_plain = homeserver.schema.joined_rooms_is_plain && !are_faults_set();
        if (is_plain) {
            raise_all();
        } else if (run_in_subtransaction(raise_all)) {
            return;
        }
    }
    std::erase_if(rooms, [&](const RoomChange& room) {
        return only_raises(room, is_single) &&
               std::find(missing.begin(), missing.end(), room.room_id) == missing.end();
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

Refreshed refresh(Homeserver& homeserver, Changes changes, rules::Occasion occasion) {
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
    const bool is_recall = occasion != rules::Occasion::change;
    Fuse& fuse = is_recall ? homeserver.patient_fuse : homeserver.fuse;
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
                remove_joined_rooms(homeserver, room_ids_of(pass.subspan(begin, end - begin)));
            };
            const auto work = [&](std::size_t begin, std::size_t end) {
                refreshed.rows_written +=
                    refresh_joined_rooms(homeserver, pass.subspan(begin, end - begin), occasion);
            };
            const auto key = [&](std::size_t i) { return QuarantineKey{pass[i].room_id, std::nullopt}; };
            const bool is_known = schema.joined_rooms == TableShape::known;
            refreshed.failed += carry_out(schema, fuse,
                                          {joined_rooms_table, pass.size(),
                                           is_known ? GuardedWork::Step(work) : GuardedWork::Step(remove),
                                           remove, key, is_recall});
        });
    }
    if (schema.membership_snapshots != TableShape::missing) {
        in_passes(changes.memberships, [&](std::span<const MembershipKey> pass) {
            const auto remove = [&](std::size_t begin, std::size_t end) {
                remove_memberships(homeserver, pass.subspan(begin, end - begin));
            };
            const auto work = [&](std::size_t begin, std::size_t end) {
                refreshed.rows_written +=
                    refresh_memberships(homeserver, pass.subspan(begin, end - begin), hints, occasion);
            };
            const auto key = [&](std::size_t i) { return QuarantineKey{pass[i].room_id, pass[i].user_id}; };
            const bool is_known = schema.membership_snapshots == TableShape::known;
            refreshed.failed += carry_out(schema, fuse,
                                          {membership_snapshots_table, pass.size(),
                                           is_known ? GuardedWork::Step(work) : GuardedWork::Step(remove),
                                           remove, key, is_recall});
        });
    }
    return refreshed;
}

void refuse_hidden_rows(bool exist) {
    if (exist) {
        throw Error(ERRCODE_T_R_SERIALIZATION_FAILURE,
                    "could not serialize access due to a concurrent backfill of sliding sync tables", "",
                    "The transaction might succeed if retried.");
    }
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
