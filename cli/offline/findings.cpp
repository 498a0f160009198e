#include "cli/offline/findings.hpp"

namespace sliding_sync::cli::offline {

namespace {

constexpr const char* visible = "visible";
constexpr const char* hidden = "hidden";
constexpr const char* unverifiable = "unverifiable";

Value text(const Value& value) {
    return value;
}
Value text(const std::string& value) {
    return value;
}
Value text(std::int64_t value) {
    return std::to_string(value);
}
Value text(const std::optional<std::int64_t>& value) {
    return value ? Value(std::to_string(*value)) : std::nullopt;
}
Value text(bool value) {
    return value ? "true" : "false";
}

class RowFindings {
public:
    RowFindings(Rows& findings, const char* table, std::string room_id, Value user_id)
        : findings_(findings), table_(table), room_id_(std::move(room_id)), user_id_(std::move(user_id)) {}

    void add(const Value& column, const Value& expected, const Value& actual, const char* reason,
             const char* severity) {
        findings_.values.push_back({table_, room_id_, user_id_, column, expected, actual, reason, severity});
    }

    void row(bool is_missing) {
        add(std::nullopt, is_missing ? "present" : "absent", is_missing ? "absent" : "present",
            is_missing ? "missing_row" : "extra_row", visible);
    }

    template <typename Column>
    void column(const char* name, const Column& expected, const Column& actual, const char* reason,
                const char* severity) {
        if (expected != actual) {
            add(name, text(expected), text(actual), reason, severity);
        }
    }

    template <typename Column>
    void ordering(const char* name, const Column& expected, const Column& actual) {
        column(name, expected, actual, actual < expected ? "stale_ordering" : "ordering_ahead", visible);
    }

    // No reader shows the name; the others are filters.
    void state(const rules::RoomState& expected, const rules::RoomState& actual, const char* reason,
               const char* severity) {
        column("room_type", expected.room_type, actual.room_type, reason, severity);
        column("room_name", expected.room_name, actual.room_name, reason,
               severity == visible ? hidden : severity);
        column("is_encrypted", expected.is_encrypted, actual.is_encrypted, reason, severity);
        column("tombstone_successor_room_id", expected.tombstone_successor_room_id,
               actual.tombstone_successor_room_id, reason, severity);
    }

private:
    Rows& findings_;
    const char* table_;
    std::string room_id_;
    Value user_id_;
};

RowFindings findings_of(Rows& findings, const MembershipKey& key) {
    return {findings, "sliding_sync_membership_snapshots", key.room_id, key.user_id};
}

// Of a joined room the reader takes the room's own row.
const char* state_severity(const rules::MembershipSnapshot& row) {
    return row.membership == "join" ? hidden : visible;
}

void add_columns(RowFindings& row, const rules::MembershipSnapshot& expected,
                 const rules::MembershipSnapshot& stored) {
    row.column("sender", expected.sender, stored.sender, "membership_differs", visible);
    row.column("membership_event_id", expected.membership_event_id, stored.membership_event_id,
               "wrong_membership", visible);
    row.column("membership", expected.membership, stored.membership, "membership_differs", visible);
    row.column("forgotten", std::int64_t{expected.forgotten}, std::int64_t{stored.forgotten},
               "wrong_forgotten", visible);
    row.column("event_stream_ordering", expected.event_stream_ordering, stored.event_stream_ordering,
               "membership_differs", visible);
    row.column("event_instance_name", expected.event_instance_name, stored.event_instance_name,
               "membership_differs", hidden);
    const bool is_unknown = expected.has_known_state && !stored.has_known_state &&
                            expected.membership_event_id == stored.membership_event_id;
    const char* reason = is_unknown ? "history_unknown" : "state_differs";
    const char* severity = state_severity(expected);
    row.column("has_known_state", expected.has_known_state, stored.has_known_state, reason, severity);
    row.state(expected.state, stored.state, reason, severity);
}

}  // namespace

Rows no_findings() {
    Rows rows;
    rows.columns = {"table_name", "room_id", "user_id", "column_name",
                    "expected",   "actual",  "reason",  "severity"};
    rows.is_number.assign(rows.columns.size(), false);
    return rows;
}

bool add_findings(Rows& findings, const RoomComparison& room) {
    if (room.stored == room.expected) {
        return false;
    }
    RowFindings row(findings, "sliding_sync_joined_rooms", room.room_id, std::nullopt);
    if (!room.stored || !room.expected) {
        row.row(!room.stored);
        return true;
    }
    row.ordering("event_stream_ordering", room.expected->event_stream_ordering,
                 room.stored->event_stream_ordering);
    row.ordering("bump_stamp", room.expected->bump_stamp, room.stored->bump_stamp);
    row.state(room.expected->state, room.stored->state, "state_differs", visible);
    return true;
}

bool add_findings(Rows& findings, const MembershipComparison& membership) {
    if (membership.stored == membership.expected) {
        return false;
    }
    RowFindings row = findings_of(findings, membership.key);
    if (!membership.stored || !membership.expected) {
        row.row(!membership.stored);
    } else {
        add_columns(row, *membership.expected, *membership.stored);
    }
    return true;
}

void add_history_findings(Rows& findings, const MembershipComparison& from_scratch, bool is_possible) {
    RowFindings row = findings_of(findings, from_scratch.key);
    const char* reason = is_possible ? "history_unverifiable" : "history_impossible";
    const char* severity = is_possible ? unverifiable : state_severity(*from_scratch.stored);
    row.column("has_known_state", from_scratch.expected->has_known_state,
               from_scratch.stored->has_known_state, reason, severity);
    row.state(from_scratch.expected->state, from_scratch.stored->state, reason, severity);
}

void add_source_conflict(Rows& findings, const MembershipComparison& membership) {
    findings_of(findings, membership.key)
        .add("membership", std::nullopt,
             membership.stored ? Value(membership.stored->membership) : std::nullopt, "source_conflict",
             unverifiable);
}

}  // namespace sliding_sync::cli::offline
