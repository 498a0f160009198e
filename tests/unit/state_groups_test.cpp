#include "rules/state_groups.hpp"

#include <gtest/gtest.h>
#include <map>
#include <string>

namespace sliding_sync::rules {
namespace {

using Group = StateGroup<std::string>;
using State = std::array<std::string, state_kind_count>;

/// The groups as a homeserver stores them, and which were read.
struct Stored {
    std::map<std::int64_t, Group> groups;
    std::vector<std::int64_t> read;

    std::optional<State> state_of(std::int64_t id, StateGroups<std::string>& known) {
        return whole_state(complete_group(known, id, [&](std::int64_t wanted, Group& group) {
            read.push_back(wanted);
            const auto found = groups.find(wanted);
            if (found == groups.end()) {
                group.progress = Group::Progress::broken;
            } else {
                group = found->second;
            }
        }));
    }

    std::optional<State> state_of(std::int64_t id) {
        StateGroups<std::string> known;
        return state_of(id, known);
    }
};

TEST(StateGroups, WhatAGroupHoldsItselfHidesWhatTheOneBeforeHolds) {
    Stored stored;
    stored.groups[1] = {std::nullopt, {"$create", "", "$old name", ""}};
    stored.groups[2] = {1, {"", "$encryption", "", ""}};
    stored.groups[3] = {2, {"", "", "$new name", ""}};
    EXPECT_EQ(stored.state_of(3), (State{"$create", "$encryption", "$new name", ""}));
    EXPECT_EQ(stored.state_of(1), (State{"$create", "", "$old name", ""}));
}

TEST(StateGroups, EachIsReadOnce) {
    Stored stored;
    stored.groups[1] = {std::nullopt, {"$create", "", "", ""}};
    stored.groups[2] = {1, {}};
    stored.groups[3] = {1, {}};
    StateGroups<std::string> known;
    EXPECT_TRUE(stored.state_of(2, known));
    EXPECT_TRUE(stored.state_of(3, known));
    EXPECT_EQ(stored.read, (std::vector<std::int64_t>{2, 1, 3}));
}

TEST(StateGroups, NothingIsKnownBehindAMissingLink) {
    Stored stored;
    stored.groups[2] = {1, {"$create", "", "", ""}};
    stored.groups[3] = {2, {}};
    StateGroups<std::string> known;
    EXPECT_EQ(stored.state_of(3, known), std::nullopt);
    EXPECT_EQ(stored.state_of(2, known), std::nullopt);
    EXPECT_EQ(stored.state_of(1, known), std::nullopt);
}

TEST(StateGroups, AStateWithoutTheRoomsCreationIsNone) {
    Stored stored;
    stored.groups[1] = {std::nullopt, {"", "", "$name", ""}};
    EXPECT_EQ(stored.state_of(1), std::nullopt);
}

TEST(StateGroups, AChainThatBitesItsOwnTailEnds) {
    Stored stored;
    stored.groups[1] = {3, {"$create", "", "", ""}};
    stored.groups[2] = {1, {}};
    stored.groups[3] = {2, {}};
    EXPECT_EQ(stored.state_of(3), std::nullopt);
}

TEST(StateGroups, DeepChainsTakeNoStack) {
    Stored stored;
    stored.groups[0] = {std::nullopt, {"$create", "", "", ""}};
    for (std::int64_t id = 1; id < 200'000; ++id) {
        stored.groups[id] = {id - 1, {}};
    }
    EXPECT_TRUE(stored.state_of(199'999));
}

}  // namespace
}  // namespace sliding_sync::rules
