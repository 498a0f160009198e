#include "admin/verify.hpp"

#include "admin/verify_progress.hpp"
#include "derive/room_history.hpp"
#include "derive/write_as.hpp"

extern "C" {
#include "common/pg_prng.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
}

namespace sliding_sync {

namespace {

constexpr double keys_per_slice = 500;
// Keys alone are cheap to read, and those that are drawn are compared together.
constexpr double keys_per_page = 20'000;
// So many are drawn from the tables at once, and of so many whole pages: each of those has some fifty.
constexpr double most_drawn = 100'000;
constexpr double drawn_by_pages = 10'000;
constexpr double smallest_share = 1e-6;

class Verification {
public:
    Verification(const VerifyOptions& options, const std::function<void(const VerifiedSlice&)>& report)
        : options_(options), report_(report), held_(homeserver_in(options.homeserver.namespace_oid)),
          homeserver_(*held_), progress_(options.homeserver, options.function) {}

    void run() {
        const bool are_all =
            !options_.room && !options_.member && !options_.scope.first_room && !options_.scope.last_room;
        if (options_.scope.tables != DerivedTableSet::memberships && !options_.member) {
            const char* const table = table_name(BaseTable::rooms);
            const auto drawn = are_all ? keys_to_draw(table) : std::nullopt;
            progress_.begin("rooms", are_all && !drawn ? table : nullptr);
            drawn ? drawn_rooms(*drawn) : options_.room ? one_room() : rooms();
        }
        if (options_.scope.tables != DerivedTableSet::joined_rooms) {
            const char* const table = table_name(BaseTable::local_current_membership);
            const auto drawn = are_all ? keys_to_draw(table) : std::nullopt;
            progress_.begin("memberships", are_all && !drawn ? table : nullptr);
            drawn                              ? drawn_memberships(*drawn)
            : options_.room || options_.member ? some_memberships()
                                               : memberships();
        }
    }

private:
    // Everything of a slice is read at one moment, as the owner of the derived tables.
    void slice(const std::function<void(VerifiedSlice&)>& read) {
        VerifiedSlice slice;
        {
            const WriteAs reader(homeserver_.schema.derived_owner);
            const FixedSnapshot moment;
            const SpiConnection connection;
            read(slice);
        }
        call_pg([] { CHECK_FOR_INTERRUPTS(); });
        if (!slice.findings.empty()) {
            report_(slice);
        }
    }

    [[nodiscard]] std::int64_t page_size() const {
        return static_cast<std::int64_t>(std::min(keys_per_page, keys_per_slice / options_.sample));
    }

    template <typename Key>
    void draw(std::vector<Key>& keys) const {
        if (options_.sample < 1) {
            std::erase_if(
                keys, [&](const Key&) { return pg_prng_double(&pg_global_prng_state) >= options_.sample; });
        }
    }

    // A look at every key costs several times what a small share of them costs.
    [[nodiscard]] std::optional<double> keys_to_draw(const char* table) const {
        if (options_.sample >= 1 || options_.sample < smallest_share) {
            return std::nullopt;
        }
        const double keys =
            options_.sample * call_pg([&] {
                return estimated_rows(get_relname_relid(table, options_.homeserver.namespace_oid));
            });
        return keys >= 0 && keys <= most_drawn ? std::optional(keys) : std::nullopt;
    }

    void drawn_rooms(double estimate) {
        std::vector<std::string> keys;
        {
            const WriteAs reader(homeserver_.schema.derived_owner);
            const SpiConnection connection;
            for (const std::string_view room_id :
                 homeserver_.statements.lookup.drawn_rooms(options_.sample, estimate >= drawn_by_pages)) {
                keys.emplace_back(room_id);
            }
        }
        in_slices(keys, [&](VerifiedSlice& found, std::span<const std::string> part) {
            compare_rooms(found, {part.begin(), part.end()});
        });
    }

    void drawn_memberships(double estimate) {
        std::vector<std::pair<std::string, std::string>> keys;
        {
            const WriteAs reader(homeserver_.schema.derived_owner);
            const SpiConnection connection;
            for (const MembershipKey& key : homeserver_.statements.lookup.drawn_memberships(
                     options_.sample, estimate >= drawn_by_pages)) {
                keys.emplace_back(key.room_id, key.user_id);
            }
        }
        in_slices(keys, [&](VerifiedSlice& found, std::span<const std::pair<std::string, std::string>> part) {
            std::vector<MembershipKey> memberships;
            for (const auto& [room_id, user_id] : part) {
                memberships.push_back({room_id, user_id});
            }
            compare_memberships(found, memberships);
        });
    }

    template <typename Key, typename Compare>
    void in_slices(const std::vector<Key>& keys, const Compare& compare) {
        constexpr auto size = static_cast<std::size_t>(keys_per_slice);
        for (std::size_t begin = 0; begin < keys.size(); begin += size) {
            const auto part = std::span<const Key>(keys).subspan(begin, std::min(size, keys.size() - begin));
            slice([&](VerifiedSlice& found) {
                progress_.add(part.size());
                compare(found, part);
            });
        }
    }

    void one_room() {
        slice([&](VerifiedSlice& found) {
            const std::string_view room_id = *options_.room;
            compare_rooms(found, {room_id});
        });
    }

    void rooms() {
        std::string after = room_before();
        for (bool is_last = false; !is_last;) {
            slice([&](VerifiedSlice& found) {
                auto page =
                    homeserver_.statements.lookup.rooms_between(after, options_.scope.last_room, page_size());
                is_last = page.is_last;
                if (!page.keys.empty()) {
                    after = page.keys.back();
                }
                progress_.add(page.keys.size());
                draw(page.keys);
                compare_rooms(found, page.keys);
            });
        }
    }

    void memberships() {
        std::pair<std::string, std::string> after{room_before(), ""};
        for (bool is_last = false; !is_last;) {
            slice([&](VerifiedSlice& found) {
                auto page = homeserver_.statements.lookup.memberships_between(
                    {after.first, after.second}, options_.scope.last_room, page_size());
                is_last = page.is_last;
                if (!page.keys.empty()) {
                    after = {std::string(page.keys.back().room_id), std::string(page.keys.back().user_id)};
                }
                progress_.add(page.keys.size());
                draw(page.keys);
                compare_memberships(found, page.keys);
            });
        }
    }

    void some_memberships() {
        std::vector<std::pair<std::string, std::string>> keys;
        slice([&](VerifiedSlice&) {
            for (const MembershipKey& key :
                 homeserver_.statements.lookup.memberships_of(options_.room, options_.member)) {
                keys.emplace_back(key.room_id, key.user_id);
            }
        });
        const auto size = static_cast<std::size_t>(page_size());
        for (std::size_t begin = 0; begin < keys.size(); begin += size) {
            slice([&](VerifiedSlice& found) {
                std::vector<MembershipKey> part;
                for (std::size_t i = begin; i < std::min(begin + size, keys.size()); ++i) {
                    part.push_back({keys[i].first, keys[i].second});
                }
                progress_.add(part.size());
                draw(part);
                compare_memberships(found, part);
            });
        }
    }

    // Positions are exclusive: the range begins behind the room before its first one.
    std::string room_before() {
        if (!options_.scope.first_room) {
            return "";
        }
        const WriteAs reader(homeserver_.schema.derived_owner);
        const SpiConnection connection;
        return std::string(homeserver_.statements.lookup.room_before(*options_.scope.first_room));
    }

    void compare_rooms(VerifiedSlice& found, const std::vector<std::string_view>& room_ids) {
        std::vector<RoomChange> rooms;
        for (const std::string_view room_id : room_ids) {
            rooms.push_back(whole_room(room_id));
        }
        for (const RoomComparison& room : compare_joined_rooms(
                 homeserver_.statements, rooms, homeserver_.statements.joined_rooms.stored(room_ids))) {
            if (room.stored != room.expected) {
                add_findings(found.findings, room.key, room.stored, room.expected);
                found.rooms.emplace_back(room.key);
            }
        }
    }

    void compare_memberships(VerifiedSlice& found, const std::vector<MembershipKey>& keys) {
        const auto stored = homeserver_.statements.snapshots.stored(keys);
        std::vector<MembershipKey> remembered;  // whose history is what the row says
        RefreshScope scope;
        const auto recalled = sliding_sync::compare_memberships(homeserver_.statements, keys, stored, scope,
                                                                rules::RefreshMode::recompute);
        for (const MembershipComparison& membership : recalled) {
            if (membership.stored != membership.expected) {
                add_findings(found.findings, membership.key.room_id, membership.key.user_id,
                             membership.stored, membership.expected);
                found.memberships.emplace_back(membership.key.room_id, membership.key.user_id);
            } else if (membership.source == rules::SnapshotSource::keep) {
                remembered.push_back(membership.key);
            }
            if (membership.has_source_conflict) {
                add_source_conflict(found.findings, membership.key.room_id, membership.key.user_id,
                                    membership.stored);
            }
        }
        if (options_.history && !remembered.empty()) {
            judge_history(found, remembered);
        }
    }

    // A snapshot that a comparison from scratch gives as well is right. Another one may be: names change, and
    // a snapshot is of a moment.
    void judge_history(VerifiedSlice& found, const std::vector<MembershipKey>& keys) {
        RefreshScope scope;
        const auto from_scratch = sliding_sync::compare_memberships(
            homeserver_.statements, keys, homeserver_.statements.snapshots.stored(keys), scope,
            rules::RefreshMode::rebuild);
        std::vector<const MembershipComparison*> differing;
        std::vector<std::string_view> room_ids;
        for (const MembershipComparison& membership : from_scratch) {
            if (membership.stored && membership.expected && membership.stored != membership.expected) {
                differing.push_back(&membership);
                room_ids.push_back(membership.key.room_id);
            }
        }
        if (differing.empty()) {
            return;
        }
        std::vector<std::string_view> distinct = room_ids;
        std::sort(distinct.begin(), distinct.end());
        distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
        std::vector<RoomHistory> histories = homeserver_.statements.histories.of(distinct);
        const auto is_possible = [&](const MembershipComparison& membership) {
            const auto at = std::lower_bound(distinct.begin(), distinct.end(), membership.key.room_id);
            const RoomHistory& history = histories[static_cast<std::size_t>(at - distinct.begin())];
            return rules::may_be_of_the_past(history, membership.source, membership.stored->state);
        };
        std::set<std::string_view> unclear;
        for (const MembershipComparison* membership : differing) {
            if (!is_possible(*membership)) {
                unclear.insert(membership->key.room_id);
            }
        }
        add_stored_events(unclear, distinct, histories);
        std::vector<const MembershipComparison*> unexplained;
        for (const MembershipComparison* membership : differing) {
            if (is_possible(*membership)) {
                add_history_findings(found.findings, *membership->stored, *membership->expected,
                                     FindingReason::history_unverifiable);
            } else {
                unexplained.push_back(membership);
            }
        }
        judge_unexplained(found, unexplained);
    }

    // `histories` are those of `room_ids`; it costs too much to be asked of each of them.
    void add_stored_events(const std::set<std::string_view>& unclear,
                           const std::vector<std::string_view>& room_ids,
                           std::vector<RoomHistory>& histories) {
        std::vector<std::string_view> rooms;
        std::vector<RoomHistory*> incomplete;
        for (std::size_t i = 0; i < room_ids.size(); ++i) {
            if (unclear.contains(room_ids[i])) {
                rooms.push_back(room_ids[i]);
                incomplete.push_back(&histories[i]);
            }
        }
        if (!rooms.empty()) {
            homeserver_.statements.histories.add_stored_events(rooms, incomplete);
        }
    }

    void judge_unexplained(VerifiedSlice& found,
                           const std::vector<const MembershipComparison*>& memberships) {
        std::vector<MembershipKey> keys;
        std::vector<std::string_view> event_ids;
        for (const MembershipComparison* membership : memberships) {
            keys.push_back(membership->key);
            event_ids.push_back(membership->stored->membership_event_id);
        }
        const auto invites = homeserver_.statements.memberships.earlier_invites(keys, event_ids);
        for (std::size_t i = 0; i < keys.size(); ++i) {
            const bool is_possible =
                rules::may_come_from_invite(memberships[i]->source, !invites[i].membership.empty());
            add_history_findings(found.findings, *memberships[i]->stored, *memberships[i]->expected,
                                 is_possible ? FindingReason::history_unverifiable
                                             : FindingReason::history_impossible);
            if (!is_possible) {
                found.impossible.emplace_back(keys[i].room_id, keys[i].user_id);
            }
        }
    }

    const VerifyOptions& options_;
    const std::function<void(const VerifiedSlice&)>& report_;
    std::shared_ptr<Homeserver> held_;
    const Homeserver& homeserver_;
    VerifyProgress progress_;
};

}  // namespace

void verify(const VerifyOptions& options, const std::function<void(const VerifiedSlice&)>& report) {
    Verification(options, report).run();
}

}  // namespace sliding_sync
