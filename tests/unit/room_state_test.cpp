#include "rules/room_state.hpp"

#include <gtest/gtest.h>

namespace sliding_sync::rules {
namespace {

constexpr auto create = static_cast<std::size_t>(StateKind::create);
constexpr auto encryption = static_cast<std::size_t>(StateKind::encryption);
constexpr auto name = static_cast<std::size_t>(StateKind::name);
constexpr auto tombstone = static_cast<std::size_t>(StateKind::tombstone);

StateEvents full() {
    StateEvents events;
    events[create] = {.json = R"({"content":{"type":"m.space","room_version":"10"}})"};
    events[encryption] = {.json = R"({"content":{"algorithm":"m.megolm.v1.aes-sha2"}})"};
    events[name] = {.json = R"({"content":{"name":"Ops"}})"};
    events[tombstone] = {.json = R"({"content":{"body":"moved","replacement_room":"!new:example.org"}})"};
    return events;
}

const RoomState full_state{"m.space", "Ops", true, "!new:example.org"};

TEST(DeriveRoomState, AllFour) {
    EXPECT_EQ(derive_room_state(full()), full_state);
}

TEST(DeriveRoomState, NothingStored) {
    EXPECT_EQ(derive_room_state({}), RoomState{});
}

// D1: a tombstone removed from state; D18: so does every other key.
TEST(DeriveRoomState, MissingEventEmptiesItsColumnOnly) {
    for (std::size_t kind = 0; kind < state_kind_count; ++kind) {
        auto events = full();
        events[kind].reset();
        auto expected = full_state;
        if (kind == create) {
            expected.room_type.reset();
        } else if (kind == encryption) {
            expected.is_encrypted = false;
        } else if (kind == name) {
            expected.room_name.reset();
        } else {
            expected.tombstone_successor_room_id.reset();
        }
        EXPECT_EQ(derive_room_state(events), expected) << relevant_state_types[kind];
    }
}

// docs/rules.md#state-columns: each column reads its own key, of its own event.
TEST(DeriveRoomState, KeysAreNotMixedUp) {
    constexpr std::string_view all =
        R"({"content":{"type":"t","algorithm":"a","name":"n","replacement_room":"r"}})";
    StateEvents events;
    events[create] = {.json = all};
    EXPECT_EQ(derive_room_state(events), (RoomState{"t", {}, false, {}}));
    events = {};
    events[encryption] = {.json = all};
    EXPECT_EQ(derive_room_state(events), (RoomState{{}, {}, true, {}}));
    events = {};
    events[name] = {.json = all};
    EXPECT_EQ(derive_room_state(events), (RoomState{{}, "n", false, {}}));
    events = {};
    events[tombstone] = {.json = all};
    EXPECT_EQ(derive_room_state(events), (RoomState{{}, {}, false, "r"}));
}

// docs/rules.md#values, D4, H55-H58: what is no usable string is NULL; an algorithm of any type but null
// encrypts.
TEST(DeriveRoomState, Values) {
    struct {
        std::string_view value;
        std::optional<std::string> column;
        bool present;
    } const cases[]{
        {R"("x")", "x", true}, {R"("")", "", true},        {"null", {}, false},
        {"0", {}, true},       {"false", {}, true},        {"true", {}, true},
        {"[]", {}, true},      {"{}", {}, true},           {R"({"name":"x"})", {}, true},
        {"NaN", {}, true},     {R"("a\u0000")", {}, true}, {R"("\ud800")", {}, true},
    };
    for (const auto& [value, column, present] : cases) {
        const auto event = [value = value](std::string_view key) {
            return R"({"content":{")" + std::string(key) + "\":" + std::string(value) + "}}";
        };
        const auto room_type = event("type");
        const auto algorithm = event("algorithm");
        const auto room_name = event("name");
        const auto successor = event("replacement_room");
        StateEvents events;
        events[create] = {.json = room_type};
        events[encryption] = {.json = algorithm};
        events[name] = {.json = room_name};
        events[tombstone] = {.json = successor};
        EXPECT_EQ(derive_room_state(events), (RoomState{column, column, present, column})) << value;
    }
}

// H56, H58: a present event without the field; docs/rules.md#reading-json: unreadable documents, content that
// is no object.
TEST(DeriveRoomState, NoFieldAtAll) {
    for (const auto* json :
         {R"({"content":{}})", R"({"content":null})", R"({"content":[]})", "{}", "", "[]",
          R"({"content":{"type":"t","algorithm":"a","name":"n","replacement_room":"r"})"}) {
        StateEvents events;
        events.fill(StateEvent{.json = json});
        EXPECT_EQ(derive_room_state(events), RoomState{}) << json;
        EXPECT_TRUE(has_relevant_state(events));
    }
}

// D2, D3, docs/rules.md#redactions: name, encryption and tombstone lose their content, create never does.
TEST(DeriveRoomState, Redacted) {
    auto events = full();
    for (auto& event : events) {
        event->redacted = true;
    }
    EXPECT_EQ(derive_room_state(events), (RoomState{"m.space", {}, false, {}}));

    events = full();
    events[name]->redacted = true;
    EXPECT_EQ(derive_room_state(events), (RoomState{"m.space", {}, true, "!new:example.org"}));
}

// A rejected event is invisible to readers, a create event too.
TEST(DeriveRoomState, Rejected) {
    auto events = full();
    for (auto& event : events) {
        event->rejected = true;
    }
    EXPECT_EQ(derive_room_state(events), RoomState{});
    EXPECT_TRUE(has_relevant_state(events));
}

TEST(HasRelevantState, AnyKind) {
    EXPECT_FALSE(has_relevant_state({}));
    for (std::size_t kind = 0; kind < state_kind_count; ++kind) {
        StateEvents events;
        events[kind] = StateEvent{};
        EXPECT_TRUE(has_relevant_state(events)) << relevant_state_types[kind];
    }
}

}  // namespace
}  // namespace sliding_sync::rules
