// What the rows of a pass's rooms must be: facts are read for all of them at once, then the rules derive each
// row.
//
// In phases: which are in `rooms`; which rows there are to start from; the current state of those whose state
// may have changed or that have no row to start from; the orderings of those that lost events; the row. A row
// to start from is the stored one, or the one from before this transaction where the transaction has written
// it: another writer may have made that one, by other rules. What changed is added to it: for a message the
// two orderings only.
//
// Locks: none are taken here. The rows (`stored`) are locked by the caller where something is to be written,
// and all facts are read after that, so that of two transactions the second one sees what the first has
// changed.
//
// Ownership: keys point into the caller's Changes; facts and JSON into memory of the open SpiConnection.
#include "derive/compare.hpp"

namespace sliding_sync {

namespace {

// The rows that the changes of this transaction are added to. One that it has written itself may be somebody
// else's work, by other rules: what stood there before, locked since then, is as right as any other row. It
// must not be looked for among the events: there can be many since the last one that bumps. Nothing: the row
// is made from scratch.
std::vector<std::optional<rules::JoinedRoom>>
rows_to_start_from(Statements& statements, std::span<const RoomChange> rooms,
                   std::span<const Stored<JoinedRooms>> stored) {
    std::vector<std::optional<rules::JoinedRoom>> result(rooms.size());
    std::vector<std::size_t> written;
    for (std::size_t i = 0; i < rooms.size(); ++i) {
        if (!stored[i].written_by_this_transaction) {
            result[i] = stored[i].row;
        } else if (stored[i].row && !rooms[i].is_later_flush && !(rooms[i].orderings && rooms[i].state)) {
            written.push_back(i);
        }
    }
    if (!written.empty()) {
        LookupScope before(SnapshotKind::before_transaction);
        for (const std::size_t place : written) {
            result[place] = statements.joined_rooms.find(before, rooms[place].room_id);
        }
    }
    return result;
}

// A rejection may have been stored before its event, by a transaction that has ended.
std::vector<bool> are_hints_rejected(RoomFacts& facts, std::span<const RoomChange> rooms) {
    std::vector<std::string_view> event_ids;
    for (const RoomChange& room : rooms) {
        event_ids.push_back(room.latest_event_id);
        event_ids.push_back(room.latest_bump_event_id);
    }
    const std::vector<bool> are_rejected = facts.are_rejected(event_ids);
    std::vector<bool> result;
    for (std::size_t i = 0; i < rooms.size(); ++i) {
        result.push_back(are_rejected[2 * i] || are_rejected[2 * i + 1]);
    }
    return result;
}

std::vector<std::span<const std::string_view>> new_redactions_of(std::span<const RoomChange> rooms) {
    std::vector<std::span<const std::string_view>> redaction_ids;
    for (const RoomChange& room : rooms) {
        redaction_ids.emplace_back(room.new_redactions);
    }
    return redaction_ids;
}

void add_banned(Redactions& redacted, std::span<const RoomChange> rooms, std::vector<bool>& is_redacted) {
    LookupScope scope;
    for (std::size_t i = 0; i < rooms.size(); ++i) {
        if (rooms[i].has_member_events && !rooms[i].state) {
            is_redacted[i] = is_redacted[i] || redacted.has_bans(scope, rooms[i].room_id);
        }
    }
}

std::map<std::string_view, rules::StateEvents> current_state(RoomFacts& facts,
                                                             const std::vector<std::string_view>& room_ids) {
    std::map<std::string_view, rules::StateEvents> result;
    if (!room_ids.empty()) {
        const auto read = facts.current_state(room_ids);
        for (std::size_t i = 0; i < room_ids.size(); ++i) {
            result[room_ids[i]] = read[i];
        }
    }
    return result;
}

std::map<std::string_view, Orderings> orderings_of(RoomFacts& facts,
                                                   const std::vector<std::string_view>& room_ids) {
    std::map<std::string_view, Orderings> result;
    if (!room_ids.empty()) {
        const auto read = facts.orderings(room_ids);
        for (std::size_t i = 0; i < room_ids.size(); ++i) {
            result[room_ids[i]] = read[i];
        }
    }
    return result;
}

}  // namespace

RoomChange whole_room(std::string_view room_id) noexcept {
    RoomChange room;
    room.room_id = room_id;
    room.orderings = true;
    room.state = true;
    return room;
}

std::vector<std::string_view> room_ids_of(std::span<const RoomChange> rooms) {
    std::vector<std::string_view> room_ids;
    room_ids.reserve(rooms.size());
    for (const RoomChange& room : rooms) {
        room_ids.push_back(room.room_id);
    }
    return room_ids;
}

std::vector<RoomComparison> compare_joined_rooms(Statements& statements, std::span<const RoomChange> rooms,
                                                 std::span<const Stored<JoinedRooms>> stored) {
    Assert(stored.size() == rooms.size());
    RoomFacts& facts = statements.rooms;
    const std::vector<bool> in_rooms = facts.in_rooms(room_ids_of(rooms));
    const std::vector<std::optional<rules::JoinedRoom>> starts =
        rows_to_start_from(statements, rooms, stored);

    const std::vector<bool> is_hint_rejected = are_hints_rejected(facts, rooms);
    std::vector<bool> is_state_redacted = statements.redacted.redact_state(new_redactions_of(rooms));
    add_banned(statements.redacted, rooms, is_state_redacted);

    // What a row to start from said needs only what changed; without one it is made from scratch.
    const auto state_is_new = [&](std::size_t i) {
        return !starts[i] || rooms[i].state || is_state_redacted[i];
    };
    std::vector<std::string_view> need_state;
    std::vector<std::string_view> need_orderings;
    for (std::size_t i = 0; i < rooms.size(); ++i) {
        if (in_rooms[i] && state_is_new(i)) {
            need_state.push_back(rooms[i].room_id);
        }
    }
    const std::map<std::string_view, rules::StateEvents> state = current_state(facts, need_state);
    for (std::size_t i = 0; i < rooms.size(); ++i) {
        if (!in_rooms[i] || !(!starts[i] || rooms[i].orderings || is_hint_rejected[i])) {
            continue;
        }
        // a room without relevant state has no row, however many events it has
        if (state_is_new(i) && !rules::has_relevant_state(state.at(rooms[i].room_id))) {
            continue;
        }
        need_orderings.push_back(rooms[i].room_id);
    }
    const std::map<std::string_view, Orderings> orderings = orderings_of(facts, need_orderings);

    std::vector<RoomComparison> result;
    result.reserve(rooms.size());
    for (std::size_t i = 0; i < rooms.size(); ++i) {
        const RoomChange& room = rooms[i];
        rules::JoinedRoomFacts room_facts;
        room_facts.room_id = room.room_id;
        room_facts.in_rooms = in_rooms[i];
        if (in_rooms[i] && state_is_new(i)) {
            room_facts.state_events = state.at(room.room_id);
        }
        if (const auto found = orderings.find(room.room_id); found != orderings.end()) {
            room_facts.latest_ordering = found->second.latest;
            room_facts.latest_bump_ordering = found->second.latest_bump;
        } else if (const auto& start = starts[i]) {
            room_facts.latest_ordering =
                std::max(start->event_stream_ordering, room.latest.value_or(start->event_stream_ordering));
            room_facts.latest_bump_ordering = std::max(start->bump_stamp, room.latest_bump);
        }
        std::optional<rules::JoinedRoom> expected;
        if (state_is_new(i) || !in_rooms[i]) {
            expected = rules::derive_joined_room(room_facts);
        } else if (room_facts.latest_ordering) {
            expected = starts[i];
            expected->event_stream_ordering = *room_facts.latest_ordering;
            expected->bump_stamp = room_facts.latest_bump_ordering;
        }
        result.push_back({room.room_id, stored[i].row, std::move(expected)});
    }
    return result;
}

}  // namespace sliding_sync
