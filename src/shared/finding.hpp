// A difference between a stored row and what it should be, as verify reports it.
#pragma once

#include <vector>

#include "shared/derived_columns.hpp"

namespace sliding_sync {

/// Why a row is reported; documented in docs/diagnostics.md.
enum class FindingReason : std::uint8_t {
    missing_row,
    extra_row,
    stale_ordering,    ///< event_stream_ordering or bump_stamp is lower than it should be
    ordering_ahead,    ///< the same, higher
    state_differs,     ///< a column that current state, or the snapshot's source, gives
    wrong_membership,  ///< the snapshot is of another membership event
    wrong_forgotten,
    membership_differs,    ///< another column of the membership
    history_unknown,       ///< has_known_state is false, but it can be known
    history_impossible,    ///< the room never had this state
    history_unverifiable,  ///< the room had it at some time, perhaps not at the right one
    source_conflict,       ///< the homeserver's own tables disagree about the membership
};

[[nodiscard]] const char* reason_code(FindingReason reason) noexcept;

enum class Severity : std::uint8_t {
    visible,       ///< a client may see it: in the order, the filters or the presence of a room
    hidden,        ///< wrong, but no reader shows it
    unverifiable,  ///< not known to be wrong
};

[[nodiscard]] const char* severity_code(Severity severity) noexcept;

struct Finding {
    const char* table;
    std::string room_id;
    std::optional<std::string> user_id;
    const char* column = nullptr;  ///< nothing: the whole row
    std::optional<std::string> expected;
    std::optional<std::string> actual;
    FindingReason reason;
    Severity severity;
};

using Findings = std::vector<Finding>;

/// Adds what differs, column by column, in the order of the columns.
void add_findings(Findings& findings, std::string_view room_id,
                  const std::optional<rules::JoinedRoom>& stored,
                  const std::optional<rules::JoinedRoom>& expected);
void add_findings(Findings& findings, std::string_view room_id, std::string_view user_id,
                  const std::optional<rules::MembershipSnapshot>& stored,
                  const std::optional<rules::MembershipSnapshot>& expected);

/// Adds the state columns of a snapshot that a comparison from scratch would not give, for this reason.
void add_history_findings(Findings& findings, const rules::MembershipSnapshot& stored,
                          const rules::MembershipSnapshot& from_scratch, FindingReason reason);

/// The homeserver's own tables disagree about the membership.
void add_source_conflict(Findings& findings, std::string_view room_id, std::string_view user_id,
                         const std::optional<rules::MembershipSnapshot>& stored);

}  // namespace sliding_sync
