#include "rules/event_types.hpp"

#include <gtest/gtest.h>

namespace sliding_sync::rules {
namespace {

// docs/rules.md#terms: the relevant types, each its own kind, in the order of the table.
TEST(EventTypes, RelevantTypesHaveTheirKind) {
    EXPECT_EQ(state_kind("m.room.create"), StateKind::create);
    EXPECT_EQ(state_kind("m.room.encryption"), StateKind::encryption);
    EXPECT_EQ(state_kind("m.room.name"), StateKind::name);
    EXPECT_EQ(state_kind("m.room.tombstone"), StateKind::tombstone);
    for (std::size_t kind = 0; kind < state_kind_count; ++kind) {
        EXPECT_EQ(state_kind(relevant_state_types[kind]), static_cast<StateKind>(kind));
    }
}

TEST(EventTypes, OtherTypesAreIrrelevant) {
    for (const auto* type :
         {"", "m.room.member", "m.room.topic", "m.room.nam", "m.room.names", "M.ROOM.NAME"}) {
        EXPECT_EQ(state_kind(type), std::nullopt) << type;
    }
}

// docs/rules.md#eligible-events: bump_stamp.
TEST(EventTypes, BumpTypes) {
    for (const auto* type : {"m.room.create", "m.room.message", "m.room.encrypted", "m.sticker",
                             "m.call.invite", "m.poll.start", "m.beacon_info"}) {
        EXPECT_TRUE(is_bump_type(type)) << type;
    }
    for (const auto* type : {"", "m.room.member", "m.room.name", "m.room.tombstone", "m.reaction",
                             "m.room.redaction", "m.room.messages", "m.room.encryption"}) {
        EXPECT_FALSE(is_bump_type(type)) << type;
    }
}

}  // namespace
}  // namespace sliding_sync::rules
