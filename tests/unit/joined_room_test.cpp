#include "rules/joined_room.hpp"

#include <gtest/gtest.h>
#include <limits>

namespace sliding_sync::rules {
namespace {

JoinedRoomFacts facts() {
    JoinedRoomFacts result;
    result.room_id = "!room:example.org";
    result.in_rooms = true;
    result.state_events[static_cast<std::size_t>(StateKind::name)] = {.json =
                                                                          R"({"content":{"name":"Ops"}})"};
    result.latest_ordering = 20;
    result.latest_bump_ordering = 15;
    return result;
}

TEST(DeriveJoinedRoom, AllColumns) {
    const JoinedRoom expected{
        .room_id = "!room:example.org",
        .event_stream_ordering = 20,
        .bump_stamp = 15,
        .state = {.room_type = {},
                  .room_name = "Ops",
                  .is_encrypted = false,
                  .tombstone_successor_room_id = {}},
    };
    EXPECT_EQ(derive_joined_room(facts()), expected);
}

// The foreign key to rooms cannot be met (H50).
TEST(DeriveJoinedRoom, NotInRooms) {
    auto input = facts();
    input.in_rooms = false;
    EXPECT_EQ(derive_joined_room(input), std::nullopt);
}

// D12: current state without a relevant event.
TEST(DeriveJoinedRoom, NoRelevantState) {
    auto input = facts();
    input.state_events = {};
    EXPECT_EQ(derive_joined_room(input), std::nullopt);
}

// Only outliers and rejected events (D5-D7).
TEST(DeriveJoinedRoom, NoEligibleEvent) {
    auto input = facts();
    input.latest_ordering.reset();
    EXPECT_EQ(derive_joined_room(input), std::nullopt);
}

// D9: relevant events that give no value are a row all the same. D8: half-created rooms have one.
TEST(DeriveJoinedRoom, StateWithoutValues) {
    auto input = facts();
    input.state_events = {};
    input.state_events[static_cast<std::size_t>(StateKind::create)] = {.json = R"({"content":{"type":7}})"};
    ASSERT_TRUE(derive_joined_room(input));
    EXPECT_EQ(derive_joined_room(input)->state, RoomState{});
}

// H49, D13: an ordering of any sign, but a bump stamp only if positive. H73: 64 bits.
TEST(DeriveJoinedRoom, Orderings) {
    constexpr auto max = std::numeric_limits<std::int64_t>::max();
    struct {
        std::int64_t latest;
        std::optional<std::int64_t> latest_bump;
        std::optional<std::int64_t> bump_stamp;
    } const cases[]{
        {20, 20, 20}, {20, 1, 1},   {20, {}, {}}, {20, 0, {}},     {20, -3, {}},
        {-3, -3, {}}, {-3, {}, {}}, {0, 0, {}},   {max, max, max},
    };
    for (const auto& [latest, latest_bump, bump_stamp] : cases) {
        auto input = facts();
        input.latest_ordering = latest;
        input.latest_bump_ordering = latest_bump;
        const auto row = derive_joined_room(input);
        ASSERT_TRUE(row);
        EXPECT_EQ(row->event_stream_ordering, latest);
        EXPECT_EQ(row->bump_stamp, bump_stamp) << latest_bump.value_or(-999);
    }
}

}  // namespace
}  // namespace sliding_sync::rules
