#include "rules/room_history.hpp"

#include <algorithm>

#include "rules/json.hpp"

namespace sliding_sync::rules {

namespace {

template <typename Column>
bool any_state_has(const RoomHistory& history, StateKind kind, const Column& value,
                   Column RoomState::*column) {
    return value == Column{} || history.is_lost[static_cast<std::size_t>(kind)] ||
           std::any_of(history.states.begin(), history.states.end(),
                       [&](const RoomState& state) { return state.*column == value; });
}

// Redacted content is pruned some time later, and a purge of history may take the redaction away after that.
// Only a room's creation always says what it said.
bool may_have_lost_its_content(StateKind kind, bool was_redacted, const RoomState& state) {
    return state == RoomState{} && (kind != StateKind::create || was_redacted);
}

// What an invite says of a room is the inviter's word, not the room's.
bool tells_of_an_invite(SnapshotSource source) noexcept {
    return source == SnapshotSource::stripped_state || source == SnapshotSource::earlier_invite;
}

}  // namespace

void RoomHistory::add(StateKind kind, StateEvents events) {
    auto& event = events[static_cast<std::size_t>(kind)];
    bool& lost = is_lost[static_cast<std::size_t>(kind)];
    if (!event) {
        lost = true;
        return;
    }
    const bool was_redacted = event->redacted;
    event->redacted = false;
    event->rejected = false;
    states.push_back(derive_room_state(events));
    lost = lost || !is_readable(event->json) || may_have_lost_its_content(kind, was_redacted, states.back());
}

bool RoomHistory::contains(const RoomState& state) const {
    return any_state_has(*this, StateKind::create, state.room_type, &RoomState::room_type) &&
           any_state_has(*this, StateKind::name, state.room_name, &RoomState::room_name) &&
           any_state_has(*this, StateKind::encryption, state.is_encrypted, &RoomState::is_encrypted) &&
           any_state_has(*this, StateKind::tombstone, state.tombstone_successor_room_id,
                         &RoomState::tombstone_successor_room_id);
}

bool may_be_of_the_past(const RoomHistory& history, SnapshotSource source, const RoomState& state) {
    return !history.is_complete || tells_of_an_invite(source) || history.contains(state);
}

bool may_come_from_invite(SnapshotSource source, bool has_earlier_invite) noexcept {
    return source == SnapshotSource::state_group && has_earlier_invite;
}

}  // namespace sliding_sync::rules
