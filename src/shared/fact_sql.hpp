// The statements that read facts by plain SQL: what the extension plans is what the program without it sends.
// All are templates for `sql_text`; the parameters are arrays, and a row's `n` is the position of its key,
// from 1.
#pragma once

#include <cstddef>
#include <string>

#include "shared/base_tables.hpp"

namespace sliding_sync {

/// The relevant state types and the bump types as SQL arrays.
[[nodiscard]] const std::string& relevant_types_array();
[[nodiscard]] const std::string& bump_types_array();

/// A condition on the `events` row with the alias `event`.
[[nodiscard]] std::string is_rejected(const OptionalTables& tables, const std::string& event);

/// Scalar subqueries on the newest eligible event of a room, and on the newest of a bump type (D5-D7, H72);
/// `room` is the expression of its id.
[[nodiscard]] std::string latest_ordering(const OptionalTables& tables, const std::string& room);
[[nodiscard]] std::string latest_bump_ordering(const OptionalTables& tables, const std::string& room);

/// n, latest, latest of a bump type; of `%R` k(room_id, n).
[[nodiscard]] std::string orderings_text(const OptionalTables& tables);

namespace redaction_column {
enum Column : std::size_t {
    position,  ///< n
    recheck,
    redact_end_ordering = recheck,  ///< of a ban
    is_stored,
    is_rejected,
    is_of_same_room,
    sender,
    json,
    internal_metadata,
    event_id  ///< of a redaction; a ban's is not selected
};
}

/// Whose JSON is read at once. It may be long, and a room may have many redactions that need not be judged.
enum class RedactionJson : bool { where_it_tells_the_sender, of_all };

/// Redactions of (events, their rooms).
[[nodiscard]] std::string redactions_text(const OptionalTables& tables,
                                          RedactionJson json = RedactionJson::where_it_tells_the_sender);

/// Bans of (rooms, senders) as their events say them (H91), whose events stand in (rooms).
[[nodiscard]] std::string ban_redactions_text(const OptionalTables& tables);

/// Of (events), those that ever were in current state, or, where nobody keeps that, whose room the homeserver
/// ever was in.
[[nodiscard]] std::string been_in_state_text(const OptionalTables& tables);

namespace earlier_invite_column {
enum Column : std::size_t { position, event_id, room_id, sender, stream_ordering, membership, json };
}

/// The latest other invite or knock of (rooms, users, membership events).
[[nodiscard]] std::string earlier_invites_text();

/// What ever entered or left the relevant state of (rooms), and the relevant state events of (rooms) that are
/// stored: n, type, event.
[[nodiscard]] std::string state_changes_text();
[[nodiscard]] std::string stored_state_events_text();

}  // namespace sliding_sync
