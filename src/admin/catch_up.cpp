#include "admin/catch_up.hpp"

#include "admin/trigger_coverage.hpp"
#include "admin/verify.hpp"

namespace sliding_sync {

namespace {

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
    options.function = "backfill";
    std::int64_t written = 0;
    verify(options, [&](const VerifiedSlice& found) {
        const Refreshed done = rebuild_history(homeserver, found);
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
    options.function = "catch_up";
    // what a snapshot says of the past depends on no base table: only its own can have been spoiled
    options.history = watched.has_changed_tables;
    verify(options, [&](const VerifiedSlice& found) {
        const Refreshed done =
            mode == CatchUpMode::repair ? refresh_slice(homeserver, found) : remove_slice(homeserver, found);
        result.joined_rooms += static_cast<std::int64_t>(found.rooms.size());
        result.memberships += static_cast<std::int64_t>(found.memberships.size() + found.impossible.size());
        result.rows_written += static_cast<std::int64_t>(done.rows_written);
        result.quarantined += static_cast<std::int64_t>(done.quarantined);
    });
    record_caught_up(attached.schema);
    return result;
}

}  // namespace sliding_sync
