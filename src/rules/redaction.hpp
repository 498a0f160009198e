// Is an event redacted for a reader of today? (docs/rules.md#redactions)
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace sliding_sync::rules {

/// A stored redaction event, as far as `is_redacted` needs it. Views live as long as the facts they point
/// into.
struct RedactionEvent {
    bool stored = false;  ///< in `events` and in `event_json`
    bool rejected = false;
    bool same_room = false;  ///< same `room_id` as its target
    std::string_view sender;
    std::string_view json;
    std::string_view internal_metadata;
};

/// One row of `redactions` that names the event.
struct Redaction {
    bool recheck = true;  ///< `redactions.recheck`; true where the column does not exist (before schema 94)
    RedactionEvent event;
};

/// One row of `room_ban_redactions` for the event's room and sender (MSC4293).
struct BanRedaction {
    std::optional<std::int64_t> redact_end_ordering;
    RedactionEvent event;
};

/// The event that may be redacted. `m.room.create` is never redacted on read: do not ask for it.
struct RedactionTarget {
    std::string_view sender;
    std::optional<std::int64_t> stream_ordering;
};

/// Whether the redaction event applies if its JSON can be read, which is not looked at.
[[nodiscard]] bool may_apply(const RedactionTarget& target, const RedactionEvent& event);

/// docs/rules.md#redactions: redacted when any redaction, or any ban redaction, applies. The version of the
/// room is not looked at, as it may be unknown (H51). A ban redaction with an end never reaches a target
/// without an ordering (H72). Bad JSON and user ids without a domain are no match, not an error; throws
/// nothing but std::bad_alloc.
[[nodiscard]] bool is_redacted(const RedactionTarget& target, std::span<const Redaction> redactions,
                               std::span<const BanRedaction> ban_redactions);

}  // namespace sliding_sync::rules
