#include "rules/membership_snapshot.hpp"

#include <utility>

#include "rules/json.hpp"

namespace sliding_sync::rules {

namespace {

/// Only an invite or a knock brings stripped state along (H62).
bool brings_stripped_state(std::string_view membership) noexcept {
    return membership == "invite" || membership == "knock";
}

/// Very old events have no sender in `events` (H46).
std::optional<std::string> sender_of(const MembershipFacts& facts) {
    if (facts.sender) {
        return facts.sender;
    }
    if (facts.room_memberships_sender) {
        return facts.room_memberships_sender;
    }
    return top_level_value(facts.json, "sender").column();
}

/// Both flags are needed: an outlier may be part of the current state (H85).
bool is_out_of_band(const MembershipFacts& facts) {
    return facts.outlier && read_internal_metadata(facts.internal_metadata).out_of_band_membership;
}

/// The membership did not change but has to be derived: history is kept, and guessed only where nothing is
/// known and it is still told, as a recompute does.
SnapshotSource source_of_unchanged(const MembershipFacts& facts) {
    if (facts.previous && facts.previous->has_known_state) {
        return SnapshotSource::keep;
    }
    if (brings_stripped_state(facts.membership)) {
        return SnapshotSource::stripped_state;
    }
    if (facts.membership == "join") {
        return SnapshotSource::current_state;
    }
    if (!facts.previous) {
        return SnapshotSource::unknown_history;
    }
    return is_out_of_band(facts) ? SnapshotSource::earlier_invite : SnapshotSource::keep;
}

/// The homeserver is not in the room: an invite or knock has state of the room itself, a leave inherits.
SnapshotSource source_from_outside(const MembershipFacts& facts) noexcept {
    if (brings_stripped_state(facts.membership)) {
        return SnapshotSource::stripped_state;
    }
    return facts.previous ? SnapshotSource::inherit : SnapshotSource::earlier_invite;
}

/// Asked for later: what was the room like then? Unknown beats wrong, so an outlier that purging made of a
/// leave (D23) has no state group, and no invite is taken for it either.
SnapshotSource source_of_recall(const MembershipFacts& facts) {
    const bool same = facts.previous && facts.previous->membership_event_id == facts.event_id;
    const bool believed = same && facts.mode == RefreshMode::recompute;
    if (brings_stripped_state(facts.membership) && !facts.in_current_state && is_out_of_band(facts)) {
        // It may have been in current state once, and have taken the room's state (O13); redacted since, what
        // it said then is history (D24).
        const bool is_history =
            believed && (facts.redacted || (facts.may_have_been_in_state && facts.previous->has_known_state));
        return is_history ? SnapshotSource::keep : SnapshotSource::stripped_state;
    }
    if (believed && facts.previous->has_known_state) {
        return SnapshotSource::keep;
    }
    if (brings_stripped_state(facts.membership)) {
        return SnapshotSource::stripped_state;
    }
    if (facts.membership == "join") {
        return SnapshotSource::current_state;
    }
    return is_out_of_band(facts) ? SnapshotSource::earlier_invite : SnapshotSource::state_group;
}

bool forgotten(const MembershipFacts& facts) noexcept {
    if (facts.forgotten) {
        return *facts.forgotten != 0;
    }
    return facts.previous && facts.previous->membership_event_id == facts.event_id &&
           facts.previous->forgotten != 0;
}

/// Fills `row` from the place that `source` names.
void set_state(MembershipSnapshot& row, SnapshotSource source, const MembershipFacts& facts,
               const SnapshotInput& input) {
    const auto take = [&](StrippedState stripped) {
        row.has_known_state = stripped.has_known_state;
        row.state = std::move(stripped.state);
    };
    switch (source) {
    case SnapshotSource::current_state:
    case SnapshotSource::wiped_state:
    case SnapshotSource::state_group:
        row.has_known_state = has_relevant_state(input.state_events);
        row.state = derive_room_state(input.state_events);
        break;
    case SnapshotSource::stripped_state:
        take(read_stripped_state(facts.json, facts.membership, facts.redacted));
        break;
    case SnapshotSource::keep:
    case SnapshotSource::inherit:
        row.has_known_state = facts.previous->has_known_state;
        row.state = facts.previous->state;
        break;
    case SnapshotSource::earlier_invite:
        take(read_stripped_state(input.earlier_invite_json, input.earlier_invite_membership,
                                 input.earlier_invite_redacted));
        break;
    case SnapshotSource::unknown_history:
    case SnapshotSource::none:
        break;
    }
}

}  // namespace

SnapshotSource snapshot_source(const MembershipFacts& facts) {
    // Neither the foreign keys nor the NOT NULL columns of the table could be met (H46, H48, H50, H72).
    if (facts.event_id.empty() || !facts.in_rooms || !facts.event_stored || !facts.stream_ordering ||
        !sender_of(facts)) {
        return SnapshotSource::none;
    }
    if (facts.mode != RefreshMode::live) {
        return source_of_recall(facts);
    }
    if (facts.membership_unchanged) {
        return source_of_unchanged(facts);
    }
    // Before the out-of-band test: an invite from outside may have become state of a room joined since (O13).
    if (facts.in_current_state) {
        return SnapshotSource::current_state;
    }
    if (is_out_of_band(facts)) {
        return source_from_outside(facts);
    }
    if (!facts.room_has_current_state) {
        return facts.room_had_current_state ? SnapshotSource::wiped_state : source_from_outside(facts);
    }
    return SnapshotSource::current_state;
}

bool is_its_event(const MembershipFacts& facts, std::string_view room_id, std::string_view type,
                  const std::optional<std::string_view>& state_key,
                  const std::optional<std::string_view>& member) noexcept {
    return room_id == facts.room_id && type == "m.room.member" &&
           state_key.value_or(member.value_or(facts.user_id)) == facts.user_id;
}

bool tells_more(const MembershipFacts& facts) noexcept {
    const bool is_plain = facts.in_current_state && !facts.outlier && facts.sender &&
                          facts.membership != "invite" && facts.membership != "knock";
    return facts.event_stored && !is_plain;
}

bool may_be_from_outside(const MembershipFacts& facts) noexcept {
    return facts.outlier && !facts.in_current_state &&
           (facts.membership == "invite" || facts.membership == "knock");
}

std::optional<MembershipSnapshot> derive_membership_snapshot(const MembershipFacts& facts,
                                                             const SnapshotInput& input) {
    const auto source = snapshot_source(facts);
    if (source == SnapshotSource::none || source == SnapshotSource::unknown_history) {
        return std::nullopt;
    }
    const bool named = facts.instance_name && !facts.instance_name->empty();
    MembershipSnapshot row{
        .room_id = facts.room_id,
        .user_id = facts.user_id,
        .sender = *sender_of(facts),
        .membership_event_id = facts.event_id,
        .membership = facts.membership,
        .forgotten = forgotten(facts) ? 1 : 0,
        .event_stream_ordering = *facts.stream_ordering,
        .event_instance_name = named ? *facts.instance_name : "master",  // H45
        .has_known_state = false,
        .state = {},
    };
    set_state(row, source, facts, input);
    return row;
}

}  // namespace sliding_sync::rules
