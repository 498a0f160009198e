// The refresh of rows of one derived table: lock, compare, write.
#pragma once

#include "derive/corrections.hpp"
#include "derive/deferred_triggers.hpp"
#include "derive/refresh.hpp"

namespace sliding_sync {

// What a refresh is asked for: keys, and what is known of the change.
inline std::vector<std::string_view> keys_of(std::span<const RoomChange> rooms) {
    return room_ids_of(rooms);
}
inline std::span<const MembershipKey> keys_of(std::span<const MembershipKey> keys) {
    return keys;
}

// The key of a row that stands in another one's way, kept beyond the look that has found it.
inline std::string owned(std::string_view room_id) {
    return std::string(room_id);
}
inline std::pair<std::string, std::string> owned(const MembershipKey& key) {
    return {std::string(key.room_id), std::string(key.user_id)};
}
inline RoomChange change_of(const std::string& room_id) {
    return whole_room(room_id);
}
inline MembershipKey change_of(const std::pair<std::string, std::string>& key) {
    return {key.first, key.second};
}

/// Rows of one derived table, from locks to writes.
template <typename Table>
class TableRefresh {
public:
    using Key = typename Table::Key;
    using Change = std::conditional_t<std::is_same_v<Table, JoinedRooms>, RoomChange, MembershipKey>;
    using OwnedKey = decltype(owned(std::declval<Key>()));

    TableRefresh(const Homeserver& homeserver, DerivedTable<Table>& rows, rules::RefreshMode mode,
                 RefreshScope& scope, KeyLocks& locks)
        : homeserver_(homeserver), rows_(rows), mode_(mode), scope_(scope), locks_(locks) {}

    [[nodiscard]] bool is_recompute() const noexcept {
        return mode_ != rules::RefreshMode::live;
    }
    [[nodiscard]] bool is_plain() const {
        if constexpr (std::is_same_v<Table, JoinedRooms>) {
            return homeserver_.schema.joined_rooms_is_plain;
        } else {
            return homeserver_.snapshots_are_plain();
        }
    }
    [[nodiscard]] TableShape shape() const noexcept {
        return Table::shape(homeserver_.schema);
    }

    std::uint64_t refresh(std::span<const Change> changes) {
        if (scope_.keep_changing) {
            refuse_endless_changes();
        }
        lock_to_write(homeserver_.schema, {{Table::name}});
        fire_new_triggers_at_once();
        const SpiConnection connection;
        const auto keys = keys_of(changes);
        locks_.begin_pass();
        const auto stored = rows_.lock(keys, &locks_);
        const auto compared = compare(changes, stored);
        RowChanges<Table> different;
        for (const auto& row : compared) {
            different.add(row.key, row.stored, row.expected);
        }
        const std::uint64_t written = rows_.write(different);
        // to write, the table was locked: what others have put on it before is known by now
        if (written > 0 && (!is_plain() || scope_.generation != catalog_generation())) {
            require_kept(compared, rows_.stored(keys));
        }
        // A row that stands there is met by others itself; a recompute has changed nothing that a row is made
        // of.
        std::vector<bool> is_kept;
        for (const auto& row : compared) {
            is_kept.push_back(!is_recompute() && !row.expected);
        }
        locks_.release_pass(is_kept);
        if (written > 0) {
            note_own_rows();
            if (scope_.notes_corrections) {
                note_corrections(compared, stored);
            }
        }
        return written;
    }

    void remove(std::span<const Change> changes) {
        const SpiConnection connection;
        lock_to_write(homeserver_.schema, {{Table::name}});
        const auto keys = keys_of(changes);
        const bool is_known = shape() == TableShape::known;
        locks_.begin_pass();
        const std::size_t there = is_known ? count_rows(rows_.lock(keys, &locks_)) : 0;
        if (scope_.keep_changing && is_known && there == 0) {
            return;  // not even a trigger for each statement shall change them again
        }
        // more of them where the table has lost its primary key, or has children
        require_written(std::min(rows_.remove(keys), there), there, Table::name);
        locks_.release_pass(std::vector<bool>(keys.size(), !is_recompute()));
    }

    // The key of another row that has the ordering which this one's must have.
    std::optional<OwnedKey> conflicting_key(const Change& change) {
        const SpiConnection connection;
        const auto row = compare_one(change);
        if (row.expected) {
            for (const Key& holder : rows_.with_ordering(row.expected->event_stream_ordering)) {
                if (holder != row.key) {
                    return owned(holder);
                }
            }
        }
        return std::nullopt;
    }

    bool refers_to_invisible_row(const Change& change) {
        const SpiConnection connection;
        const auto row = compare_one(change);
        return row.expected && !rows_.can_be_referred_to(*row.expected);
    }

private:
    auto compare(std::span<const RoomChange> rooms, std::span<const Stored<JoinedRooms>> stored) {
        return compare_joined_rooms(homeserver_.statements, rooms, stored);
    }
    auto compare(std::span<const MembershipKey> keys, std::span<const Stored<MembershipSnapshots>> stored) {
        return compare_memberships(homeserver_.statements, keys, stored, scope_, mode_);
    }
    auto compare_one(const Change& change) {
        const std::span<const Change> one(&change, 1);
        locks_.begin_pass();
        return compare(one, rows_.lock(keys_of(one), &locks_))[0];
    }

    // Those that somebody has put on the table while its lock was waited for. Put off until the commit, they
    // would fail with no subtransaction open.
    void fire_new_triggers_at_once() const {
        if (scope_.generation != catalog_generation() &&
            homeserver_in(homeserver_.schema.namespace_oid)->schema.may_defer) {
            fire_deferred_triggers_at_once(homeserver_.schema.derived_owner);
        }
    }

    // A few tell what there is to tell of a transaction that changes thousands of rows.
    template <typename Compared>
    void note_corrections(const std::vector<Compared>& compared, const std::vector<Stored<Table>>& stored) {
        constexpr std::size_t most = 200;
        for (std::size_t i = 0; i < compared.size() && scope_.corrections.size() < most; ++i) {
            const auto& row = compared[i];
            if (stored[i].written_by_this_transaction && row.stored && row.stored != row.expected) {
                if constexpr (std::is_same_v<Table, JoinedRooms>) {
                    add_findings(scope_.corrections, row.key, row.stored, row.expected);
                } else {
                    add_findings(scope_.corrections, row.key.room_id, row.key.user_id, row.stored,
                                 row.expected);
                }
            }
        }
    }

    // Where the tables' owner has put triggers or rules on the table, what stands there may not be what was
    // written.
    template <typename Compared>
    static void require_kept(const std::vector<Compared>& compared,
                             const std::vector<Stored<Table>>& stored) {
        for (std::size_t i = 0; i < compared.size(); ++i) {
            if (compared[i].expected != stored[i].row) {
                call_pg([&] {
                    raise_pg_error(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION,
                                   "a trigger or rule changes what sliding_sync writes",
                                   psprintf("Table: %s.", Table::name),
                                   "Remove it, then call sliding_sync.repair_quarantine().");
                });
            }
        }
    }

    [[noreturn]] static void refuse_endless_changes() {
        call_pg([] {
            raise_pg_error(ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                           "triggers of the derived tables never stop changing rooms",
                           "Rounds of refreshing and firing deferred triggers did not end.",
                           "Look for triggers of others on the derived tables.");
        });
        pg_unreachable();
    }

    static std::size_t count_rows(const std::vector<Stored<Table>>& stored) {
        return static_cast<std::size_t>(std::count_if(
            stored.begin(), stored.end(), [](const Stored<Table>& key) { return key.row.has_value(); }));
    }

    const Homeserver& homeserver_;
    DerivedTable<Table>& rows_;
    rules::RefreshMode mode_;
    RefreshScope& scope_;
    KeyLocks& locks_;
};

}  // namespace sliding_sync
