#include "rules/room_history.hpp"

#include <gtest/gtest.h>

namespace sliding_sync::rules {
namespace {

StateEvents event(StateKind kind, const char* json, bool redacted = false) {
    StateEvents events;
    events[static_cast<std::size_t>(kind)] = {.json = json, .redacted = redacted};
    return events;
}

RoomHistory history() {
    RoomHistory result;
    result.is_complete = true;
    result.add(StateKind::create, event(StateKind::create, R"({"content":{"type":"m.space"}})"));
    result.add(StateKind::name, event(StateKind::name, R"({"content":{"name":"Ops"}})"));
    return result;
}

RoomState named(const char* name) {
    return {.room_type = {}, .room_name = name, .is_encrypted = false, .tombstone_successor_room_id = {}};
}

TEST(RoomHistory, ColumnsOfDifferentMoments) {
    RoomState state = named("Ops");
    EXPECT_TRUE(history().contains(state));
    state.room_type = "m.space";
    EXPECT_TRUE(history().contains(state));
    EXPECT_TRUE(history().contains({}));
}

TEST(RoomHistory, WhatTheRoomNeverSaid) {
    EXPECT_FALSE(history().contains(named("Other")));
    RoomState state;
    state.is_encrypted = true;
    EXPECT_FALSE(history().contains(state));
    state = {};
    state.room_type = "m.other";
    EXPECT_FALSE(history().contains(state));
}

// A snapshot may be from before a redaction.
TEST(RoomHistory, RedactedEventsHaveSaidIt) {
    RoomHistory past = history();
    past.add(StateKind::name, event(StateKind::name, R"({"content":{"name":"Secret"}})", true));
    EXPECT_TRUE(past.contains(named("Secret")));
    EXPECT_FALSE(past.contains(named("Other")));
}

TEST(RoomHistory, AnEventThatIsGoneOrPrunedMayHaveSaidAnything) {
    for (const StateEvents& lost :
         {StateEvents{}, event(StateKind::name, R"({"content":{}})"), event(StateKind::name, "no JSON")}) {
        RoomHistory past = history();
        past.add(StateKind::name, lost);
        EXPECT_TRUE(past.contains(named("Other")));
        RoomState encrypted;
        encrypted.is_encrypted = true;
        EXPECT_FALSE(past.contains(encrypted));
    }
}

// Its content is not pruned: a room without a type never had one.
TEST(RoomHistory, TheCreationAlwaysSaysWhatItSaid) {
    RoomHistory past;
    past.add(StateKind::create, event(StateKind::create, R"({"content":{}})"));
    RoomState space;
    space.room_type = "m.space";
    EXPECT_FALSE(past.contains(space));
}

TEST(RoomHistory, WhoMayTellMore) {
    const RoomState other = named("Other");
    EXPECT_FALSE(may_be_of_the_past(history(), SnapshotSource::state_group, other));
    EXPECT_TRUE(may_be_of_the_past(history(), SnapshotSource::stripped_state, other));
    EXPECT_TRUE(may_be_of_the_past(history(), SnapshotSource::earlier_invite, other));
    EXPECT_TRUE(may_be_of_the_past(RoomHistory{}, SnapshotSource::state_group, other));
    EXPECT_TRUE(may_come_from_invite(SnapshotSource::state_group, true));
    EXPECT_FALSE(may_come_from_invite(SnapshotSource::state_group, false));
    EXPECT_FALSE(may_come_from_invite(SnapshotSource::current_state, true));
}

}  // namespace
}  // namespace sliding_sync::rules
