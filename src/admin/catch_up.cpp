#include "admin/catch_up.hpp"

#include "admin/trigger_coverage.hpp"
#include "admin/verify.hpp"
#include "derive/failure.hpp"
#include "derive/refresh.hpp"
#include "pg/write_as.hpp"

namespace sliding_sync {

namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

Changes changes_of(const std::vector<std::string>& rooms, const Pairs& memberships) {
    Changes changes;
    for (const std::string& room_id : rooms) {
        changes.rooms.push_back(whole_room(room_id));
    }
    for (const auto& [room_id, user_id] : memberships) {
        changes.memberships.push_back({room_id, user_id});
    }
    return changes;
}

Refreshed repair(const Homeserver& homeserver, const VerifiedSlice& found) {
    Refreshed done =
        refresh(homeserver, changes_of(found.rooms, found.memberships), rules::RefreshMode::recall);
    done += refresh(homeserver, changes_of({}, found.impossible), rules::RefreshMode::rewrite);
    return done;
}

Refreshed remove(const Homeserver& homeserver, const VerifiedSlice& found) {
    Refreshed removed;
    Changes changes = changes_of(found.rooms, found.memberships);
    for (const auto& [room_id, user_id] : found.impossible) {
        changes.memberships.push_back({room_id, user_id});
    }
    std::vector<std::string_view> room_ids;
    std::vector<QuarantineKey> rooms;
    std::vector<QuarantineKey> memberships;
    for (const RoomChange& room : changes.rooms) {
        room_ids.push_back(room.room_id);
        rooms.push_back({room.room_id, std::nullopt});
    }
    for (const MembershipKey& membership : changes.memberships) {
        memberships.push_back({membership.room_id, membership.user_id});
    }
    {
        const WriteAs owner(homeserver.schema.derived_owner);
        const SpiConnection connection;
        removed.rows_written = homeserver.statements.apply.remove_joined_rooms(room_ids) +
                               homeserver.statements.apply.remove_memberships(changes.memberships);
    }
    quarantine_stale(homeserver.schema, joined_rooms_table, rooms);
    quarantine_stale(homeserver.schema, membership_snapshots_table, memberships);
    removed.quarantined = rooms.size() + memberships.size();
    return removed;
}

VerifyOptions everything(const AttachedHomeserver& attached) {
    VerifyOptions options;
    options.homeserver = attached;
    options.scope.schema = attached.schema;
    return options;
}

}  // namespace

CatchUpMode parse_catch_up_mode(const std::string& text) {
    if (text == "repair") {
        return CatchUpMode::repair;
    }
    if (text == "remove") {
        return CatchUpMode::remove;
    }
    throw Error(ERRCODE_INVALID_PARAMETER_VALUE, "\"" + text + "\" is no way to catch up", "",
                "Use repair or remove.");
}

std::int64_t rewrite_history(const AttachedHomeserver& attached) {
    const auto held = homeserver_in(attached.namespace_oid);
    const Homeserver& homeserver = *held;
    VerifyOptions options = everything(attached);
    options.scope.tables = DerivedTableSet::memberships;
    std::int64_t written = 0;
    verify(options, [&](const VerifiedSlice& found) {
        const Refreshed done =
            refresh(homeserver, changes_of({}, found.impossible), rules::RefreshMode::rewrite);
        written += static_cast<std::int64_t>(done.rows_written);
    });
    return written;
}

CaughtUp catch_up(const AttachedHomeserver& attached, CatchUpMode mode) {
    CaughtUp result;
    const TriggerCoverage watched = read_trigger_coverage(attached.schema);
    result.had_gap = watched.has_gap() || watched.has_coverage_gaps;
    if (!result.had_gap) {
        return result;
    }
    restart_coverage(attached.schema);
    const auto held = homeserver_in(attached.namespace_oid);
    const Homeserver& homeserver = *held;
    VerifyOptions options = everything(attached);
    // what a snapshot says of the past depends on no base table: only its own can have been spoiled
    options.history = watched.has_changed_tables;
    verify(options, [&](const VerifiedSlice& found) {
        const Refreshed done =
            mode == CatchUpMode::repair ? repair(homeserver, found) : remove(homeserver, found);
        result.joined_rooms += static_cast<std::int64_t>(found.rooms.size());
        result.memberships += static_cast<std::int64_t>(found.memberships.size() + found.impossible.size());
        result.rows_written += static_cast<std::int64_t>(done.rows_written);
        result.quarantined += static_cast<std::int64_t>(done.quarantined);
    });
    record_caught_up(attached.schema);
    return result;
}

}  // namespace sliding_sync
