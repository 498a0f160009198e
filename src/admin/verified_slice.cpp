#include "admin/verified_slice.hpp"

#include "derive/failure.hpp"
#include "derive/write_as.hpp"
#include "pg/transaction.hpp"

namespace sliding_sync {

namespace {

void add(std::vector<MembershipKey>& keys, const std::vector<VerifiedSlice::Membership>& memberships) {
    for (const auto& [room_id, user_id] : memberships) {
        keys.push_back({room_id, user_id});
    }
}

}  // namespace

Refreshed refresh_slice(const Homeserver& homeserver, const VerifiedSlice& slice) {
    const ShortWaits short_waits;  // the rows of the slices before stay locked
    Changes changes;
    for (const std::string& room_id : slice.rooms) {
        changes.rooms.push_back(whole_room(room_id));
    }
    add(changes.memberships, slice.memberships);
    Refreshed done = refresh(homeserver, std::move(changes), rules::RefreshMode::recompute);
    done += rebuild_history(homeserver, slice);
    return done;
}

Refreshed rebuild_history(const Homeserver& homeserver, const VerifiedSlice& slice) {
    const ShortWaits short_waits;
    Changes changes;
    add(changes.memberships, slice.impossible);
    return refresh(homeserver, std::move(changes), rules::RefreshMode::rebuild);
}

Refreshed remove_slice(const Homeserver& homeserver, const VerifiedSlice& slice) {
    const ShortWaits short_waits;
    const std::vector<std::string_view> room_ids(slice.rooms.begin(), slice.rooms.end());
    std::vector<MembershipKey> memberships;
    add(memberships, slice.memberships);
    add(memberships, slice.impossible);
    Refreshed removed;
    {
        const WriteAs owner(homeserver.schema.derived_owner);
        const SpiConnection connection;
        removed.rows_written = homeserver.statements.joined_rooms.remove(room_ids) +
                               homeserver.statements.snapshots.remove(memberships);
    }
    std::vector<QuarantineKey> keys;
    for (const std::string_view room_id : room_ids) {
        keys.push_back({room_id, std::nullopt});
    }
    quarantine_stale(homeserver.schema, joined_rooms_table, keys);
    keys.clear();
    for (const MembershipKey& membership : memberships) {
        keys.push_back({membership.room_id, membership.user_id});
    }
    quarantine_stale(homeserver.schema, membership_snapshots_table, keys);
    removed.quarantined = room_ids.size() + memberships.size();
    return removed;
}

}  // namespace sliding_sync
