#include "shared/finding.hpp"

#include "shared/value_text.hpp"

namespace sliding_sync {

namespace {

struct Judgement {
    FindingReason reason;
    Severity severity;
};

// Of the columns that current state gives. No reader shows the name; the others are filters.
Judgement state_judgement(ColumnRole role, FindingReason reason, Severity severity) noexcept {
    return {reason,
            role == ColumnRole::room_name && severity == Severity::visible ? Severity::hidden : severity};
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

    // What differs, column by column; `judge` says by the column's role, and whether the value is behind,
    // what that is.
    template <typename Table, typename Judge>
    void columns(const typename Table::Row& expected, const typename Table::Row& actual, Judge judge) {
        visit_columns<Table>([&](const auto& column) {
            const auto& is = column.field(actual);
            const auto& must_be = column.field(expected);
            if (column.role == ColumnRole::key || is == must_be) {
                return;
            }
            if (const std::optional<Judgement> judgement = judge(column.role, is < must_be)) {
                findings_.push_back({table_, room_id_, user_id_, column.name, text(must_be), text(is),
                                     judgement->reason, judgement->severity});
            }
        });
    }

private:
    Findings& findings_;
    const char* table_;
    std::string room_id_;
    Text user_id_;
};

RowFindings findings_of(Findings& findings, std::string_view room_id, std::string_view user_id) {
    return {findings, membership_snapshots_table, room_id, std::string(user_id)};
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

void add_findings(Findings& findings, std::string_view room_id,
                  const std::optional<rules::JoinedRoom>& stored,
                  const std::optional<rules::JoinedRoom>& expected) {
    if (stored == expected) {
        return;
    }
    RowFindings row(findings, joined_rooms_table, room_id, std::nullopt);
    if (!stored || !expected) {
        row.row(!stored);
        return;
    }
    row.columns<JoinedRoomColumns>(
        *expected, *stored, [](ColumnRole role, bool is_behind) -> std::optional<Judgement> {
            if (role == ColumnRole::ordering) {
                return Judgement{is_behind ? FindingReason::stale_ordering : FindingReason::ordering_ahead,
                                 Severity::visible};
            }
            return state_judgement(role, FindingReason::state_differs, Severity::visible);
        });
}

void add_findings(Findings& findings, std::string_view room_id, std::string_view user_id,
                  const std::optional<rules::MembershipSnapshot>& stored,
                  const std::optional<rules::MembershipSnapshot>& expected) {
    if (stored == expected) {
        return;
    }
    RowFindings row = findings_of(findings, room_id, user_id);
    if (!stored || !expected) {
        row.row(!stored);
        return;
    }
    const FindingReason state_reason = expected->has_known_state && !stored->has_known_state &&
                                               expected->membership_event_id == stored->membership_event_id
                                           ? FindingReason::history_unknown
                                           : FindingReason::state_differs;
    const Severity severity = state_severity(*expected);
    row.columns<MembershipSnapshotColumns>(
        *expected, *stored, [&](ColumnRole role, bool) -> std::optional<Judgement> {
            switch (role) {
            case ColumnRole::membership_event_id:
                return Judgement{FindingReason::wrong_membership, Severity::visible};
            case ColumnRole::membership:
                return Judgement{FindingReason::membership_differs, Severity::visible};
            case ColumnRole::instance_name:
                return Judgement{FindingReason::membership_differs, Severity::hidden};
            case ColumnRole::forgotten:
                return Judgement{FindingReason::wrong_forgotten, Severity::visible};
            default:
                return state_judgement(role, state_reason, severity);
            }
        });
}

void add_history_findings(Findings& findings, const rules::MembershipSnapshot& stored,
                          const rules::MembershipSnapshot& from_scratch, FindingReason reason) {
    RowFindings row = findings_of(findings, stored.room_id, stored.user_id);
    const Severity severity =
        reason == FindingReason::history_impossible ? state_severity(stored) : Severity::unverifiable;
    row.columns<MembershipSnapshotColumns>(
        from_scratch, stored, [&](ColumnRole role, bool) -> std::optional<Judgement> {
            const bool is_of_the_past = role == ColumnRole::has_known_state || role == ColumnRole::state ||
                                        role == ColumnRole::room_name;
            return is_of_the_past ? std::optional(state_judgement(role, reason, severity)) : std::nullopt;
        });
}

void add_source_conflict(Findings& findings, std::string_view room_id, std::string_view user_id,
                         const std::optional<rules::MembershipSnapshot>& stored) {
    findings.push_back({membership_snapshots_table, std::string(room_id), std::string(user_id), "membership",
                        std::nullopt, stored ? Text(stored->membership) : std::nullopt,
                        FindingReason::source_conflict, Severity::unverifiable});
}

}  // namespace sliding_sync
