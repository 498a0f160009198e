#include "admin/finding.hpp"

namespace sliding_sync {

namespace {

using Text = std::optional<std::string>;

Text text(const Text& value) {
    return value;
}
Text text(const std::string& value) {
    return value;
}
Text text(std::int64_t value) {
    return std::to_string(value);
}
Text text(const std::optional<std::int64_t>& value) {
    return value ? Text(std::to_string(*value)) : std::nullopt;
}
Text text(bool value) {
    return value ? "true" : "false";
}

/// The findings of one row.
class RowFindings {
public:
    RowFindings(Findings& findings, const char* table, std::string_view room_id, Text user_id)
        : findings_(findings), table_(table), room_id_(room_id), user_id_(std::move(user_id)) {}

    void row(bool is_missing) {
        findings_.push_back({table_, room_id_, user_id_, nullptr, is_missing ? "present" : "absent",
                             is_missing ? "absent" : "present",
                             is_missing ? FindingReason::missing_row : FindingReason::extra_row,
                             Severity::visible});
    }

    template <typename Value>
    void column(const char* name, const Value& expected, const Value& actual, FindingReason reason,
                Severity severity) {
        if (expected != actual) {
            findings_.push_back(
                {table_, room_id_, user_id_, name, text(expected), text(actual), reason, severity});
        }
    }

    template <typename Value>
    void ordering(const char* name, const Value& expected, const Value& actual) {
        column(name, expected, actual,
               actual < expected ? FindingReason::stale_ordering : FindingReason::ordering_ahead,
               Severity::visible);
    }

    // No reader shows the name; the others are filters.
    void state(const rules::RoomState& expected, const rules::RoomState& actual, FindingReason reason,
               Severity severity) {
        column("room_type", expected.room_type, actual.room_type, reason, severity);
        column("room_name", expected.room_name, actual.room_name, reason,
               severity == Severity::visible ? Severity::hidden : severity);
        column("is_encrypted", expected.is_encrypted, actual.is_encrypted, reason, severity);
        column("tombstone_successor_room_id", expected.tombstone_successor_room_id,
               actual.tombstone_successor_room_id, reason, severity);
    }

private:
    Findings& findings_;
    const char* table_;
    std::string room_id_;
    Text user_id_;
};

RowFindings findings_of(Findings& findings, const MembershipKey& key) {
    return {findings, membership_snapshots_table, key.room_id, std::string(key.user_id)};
}

// Of a joined room the reader takes the room's own row.
Severity state_severity(const rules::MembershipSnapshot& row) {
    return row.membership == "join" ? Severity::hidden : Severity::visible;
}

}  // namespace

const char* reason_code(FindingReason reason) noexcept {
    switch (reason) {
    case FindingReason::missing_row:
        return "missing_row";
    case FindingReason::extra_row:
        return "extra_row";
    case FindingReason::stale_ordering:
        return "stale_ordering";
    case FindingReason::ordering_ahead:
        return "ordering_ahead";
    case FindingReason::state_differs:
        return "state_differs";
    case FindingReason::wrong_membership:
        return "wrong_membership";
    case FindingReason::wrong_forgotten:
        return "wrong_forgotten";
    case FindingReason::membership_differs:
        return "membership_differs";
    case FindingReason::history_unknown:
        return "history_unknown";
    case FindingReason::history_impossible:
        return "history_impossible";
    case FindingReason::history_unverifiable:
        return "history_unverifiable";
    case FindingReason::source_conflict:
        return "source_conflict";
    }
    return "";
}

const char* severity_code(Severity severity) noexcept {
    switch (severity) {
    case Severity::visible:
        return "visible";
    case Severity::hidden:
        return "hidden";
    case Severity::unverifiable:
        return "unverifiable";
    }
    return "";
}

void add_findings(Findings& findings, const RoomComparison& room) {
    if (room.stored == room.expected) {
        return;
    }
    RowFindings row(findings, joined_rooms_table, room.room_id, std::nullopt);
    if (!room.stored || !room.expected) {
        row.row(!room.stored);
        return;
    }
    row.ordering("event_stream_ordering", room.expected->event_stream_ordering,
                 room.stored->event_stream_ordering);
    row.ordering("bump_stamp", room.expected->bump_stamp, room.stored->bump_stamp);
    row.state(room.expected->state, room.stored->state, FindingReason::state_differs, Severity::visible);
}

void add_findings(Findings& findings, const MembershipComparison& membership) {
    if (membership.stored == membership.expected) {
        return;
    }
    RowFindings row = findings_of(findings, membership.key);
    if (!membership.stored || !membership.expected) {
        row.row(!membership.stored);
        return;
    }
    const rules::MembershipSnapshot& expected = *membership.expected;
    const rules::MembershipSnapshot& stored = *membership.stored;
    row.column("sender", expected.sender, stored.sender, FindingReason::membership_differs,
               Severity::visible);
    row.column("membership_event_id", expected.membership_event_id, stored.membership_event_id,
               FindingReason::wrong_membership, Severity::visible);
    row.column("membership", expected.membership, stored.membership, FindingReason::membership_differs,
               Severity::visible);
    const auto forgotten = [](const rules::MembershipSnapshot& snapshot) -> std::int64_t {
        return snapshot.forgotten ? 1 : 0;  // the column is an integer
    };
    row.column("forgotten", forgotten(expected), forgotten(stored), FindingReason::wrong_forgotten,
               Severity::visible);
    row.column("event_stream_ordering", expected.event_stream_ordering, stored.event_stream_ordering,
               FindingReason::membership_differs, Severity::visible);
    row.column("event_instance_name", expected.event_instance_name, stored.event_instance_name,
               FindingReason::membership_differs, Severity::hidden);
    const FindingReason reason = expected.has_known_state && !stored.has_known_state &&
                                         expected.membership_event_id == stored.membership_event_id
                                     ? FindingReason::history_unknown
                                     : FindingReason::state_differs;
    const Severity severity = state_severity(expected);
    row.column("has_known_state", expected.has_known_state, stored.has_known_state, reason, severity);
    row.state(expected.state, stored.state, reason, severity);
}

void add_history_findings(Findings& findings, const MembershipComparison& from_scratch,
                          FindingReason reason) {
    RowFindings row = findings_of(findings, from_scratch.key);
    const Severity severity = reason == FindingReason::history_impossible
                                  ? state_severity(*from_scratch.stored)
                                  : Severity::unverifiable;
    row.column("has_known_state", from_scratch.expected->has_known_state,
               from_scratch.stored->has_known_state, reason, severity);
    row.state(from_scratch.expected->state, from_scratch.stored->state, reason, severity);
}

}  // namespace sliding_sync
