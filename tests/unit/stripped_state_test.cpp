#include "rules/stripped_state.hpp"

#include <gtest/gtest.h>
#include <string>

namespace sliding_sync::rules {
namespace {

/// An element with state key "" and a sender.
std::string element(std::string_view type, std::string_view content) {
    return R"({"type":")" + std::string(type) + R"(","state_key":"","sender":"@a:b","content":)" +
           std::string(content) + "}";
}

const std::string create = element("m.room.create", "{}");

/// An invite whose `invite_room_state` is `list`.
std::string invite(std::string_view list) {
    return R"({"content":{"membership":"invite"},"unsigned":{"age":5,"invite_room_state":)" +
           std::string(list) + "}}";
}

template <class... Elements>
std::string invite_of(const Elements&... elements) {
    std::string list = "[";
    for (const std::string& each : {std::string(elements)...}) {
        list += (list.size() > 1 ? "," : "") + each;
    }
    return invite(list + "]");
}

StrippedState read(const std::string& event_json, std::string_view membership = "invite") {
    return read_stripped_state(event_json, membership, false);
}

void expect_unknown(const std::string& event_json, std::string_view membership = "invite") {
    const auto stripped = read(event_json, membership);
    EXPECT_FALSE(stripped.has_known_state) << event_json.substr(0, 200);
    EXPECT_EQ(stripped.state, RoomState{}) << event_json.substr(0, 200);
}

void expect_state(const std::string& event_json, const RoomState& expected) {
    const auto stripped = read(event_json);
    EXPECT_TRUE(stripped.has_known_state) << event_json.substr(0, 200);
    EXPECT_EQ(stripped.state, expected) << event_json.substr(0, 200);
}

// docs/rules.md#stripped-state
TEST(StrippedState, AllFour) {
    expect_state(invite_of(element("m.room.create", R"({"type":"m.space"})"),
                           element("m.room.name", R"({"name":"Ops"})"),
                           element("m.room.encryption", R"({"algorithm":"m.megolm.v1.aes-sha2"})"),
                           element("m.room.tombstone", R"({"replacement_room":"!new:b"})"),
                           element("m.room.join_rules", R"({"join_rule":"invite"})")),
                 {"m.space", "Ops", true, "!new:b"});
}

TEST(StrippedState, CreateAlone) {
    expect_state(invite_of(create), {});
}

// docs/rules.md#stripped-state: without a create element nothing is known, not even the name.
TEST(StrippedState, NoCreate) {
    expect_unknown(invite_of(element("m.room.name", R"({"name":"Ops"})"),
                             element("m.room.encryption", R"({"algorithm":"x"})")));
}

// docs/rules.md#stripped-state: no list, or an empty one; `unsigned` that is missing or no object.
TEST(StrippedState, NoList) {
    for (const auto* list : {"[]", "null", "{}", R"("x")", "7", "true", R"({"0":1})", "NaN"}) {
        expect_unknown(invite(list));
    }
    expect_unknown("{\"unsigned\":{\"invite_room_state\":" + create + "}}");
    for (const auto* json : {"", "{}", "[]", R"({"unsigned":null})", R"({"unsigned":[]})",
                             R"({"unsigned":"x"})", R"({"unsigned":{}})", R"({"unsigned":{"age":1}})"}) {
        expect_unknown(json);
    }
    expect_unknown("{\"unsigned\":[{\"invite_room_state\":[" + create + "]}]}");
    expect_unknown("{\"invite_room_state\":[" + create + "]}");
}

// docs/rules.md#stripped-state: the key by the membership; H62: other memberships know nothing.
TEST(StrippedState, KeyByMembership) {
    const std::string knock = "{\"unsigned\":{\"knock_room_state\":[" + create + "]}}";
    EXPECT_TRUE(read(knock, "knock").has_known_state);
    EXPECT_TRUE(read(invite_of(create), "invite").has_known_state);
    expect_unknown(knock, "invite");
    expect_unknown(invite_of(create), "knock");
    for (const auto* membership : {"join", "leave", "ban", "", "Invite", "invites", "m.invite"}) {
        expect_unknown(invite_of(create), membership);
        expect_unknown(knock, membership);
    }
    expect_unknown("{\"unsigned\":{\"\":[" + create + "]}}", "join");
}

// docs/rules.md#redactions, H67, D24, A11: redaction drops the stripped state.
TEST(StrippedState, Redacted) {
    const auto stripped = read_stripped_state(invite_of(create), "invite", true);
    EXPECT_FALSE(stripped.has_known_state);
    EXPECT_EQ(stripped.state, RoomState{});
}

// docs/rules.md#stripped-state: elements that do not count. Each would be a create element if it did.
TEST(StrippedState, InvalidElementsAreSkipped) {
    for (const auto* invalid :
         {"null", "7", R"("m.room.create")", "[]", "{}", "NaN", "true", R"(["type","m.room.create"])",
          R"({"state_key":"","sender":"@a:b","content":{}})",
          R"({"type":"m.room.create","sender":"@a:b","content":{}})",
          R"({"type":"m.room.create","state_key":"","content":{}})",
          R"({"type":"m.room.create","state_key":"","sender":"@a:b"})",
          R"({"type":7,"state_key":"","sender":"@a:b","content":{}})",
          R"({"type":["m.room.create"],"state_key":"","sender":"@a:b","content":{}})",
          R"({"type":"m.room.create","state_key":null,"sender":"@a:b","content":{}})",
          R"({"type":"m.room.create","state_key":0,"sender":"@a:b","content":{}})",
          R"({"type":"m.room.create","state_key":"","sender":null,"content":{}})",
          R"({"type":"m.room.create","state_key":"","sender":1,"content":{}})",
          R"({"type":"m.room.create","state_key":"","sender":"@a:b","content":null})",
          R"({"type":"m.room.create","state_key":"","sender":"@a:b","content":[]})",
          R"({"type":"m.room.create","state_key":"","sender":"@a:b","content":"{}"})",
          // H60: another state key
          R"({"type":"m.room.create","state_key":"x","sender":"@a:b","content":{}})",
          R"({"type":"m.room.create","state_key":"\u0000","sender":"@a:b","content":{}})",
          R"({"type":"m.room.create","state_key":"\ud800","sender":"@a:b","content":{}})",
          R"({"type":"m.room.create\ud800","state_key":"","sender":"@a:b","content":{}})",
          R"({"type":"m.room.create\u0000","state_key":"","sender":"@a:b","content":{}})",
          // a later duplicate of a key takes the validity away
          R"({"type":"m.room.create","state_key":"","sender":"@a:b","content":{},"content":1})",
          R"({"type":"m.room.create","state_key":"","sender":"@a:b","content":{},"sender":1})",
          R"({"type":"m.room.create","type":1,"state_key":"","sender":"@a:b","content":{}})"}) {
        expect_unknown(invite_of(invalid));
        // and they do not disturb their neighbours (H63)
        expect_state(
            invite_of(invalid, create, invalid, element("m.room.name", R"({"name":"Ops"})"), invalid),
            {{}, "Ops", false, {}});
    }
}

// A sender is never stored: any string will do.
TEST(StrippedState, OddSenders) {
    for (const auto* sender : {R"("")", R"("\u0000")", R"("\ud800")"}) {
        expect_state(invite_of(R"({"type":"m.room.create","state_key":"","content":{"type":"t"},"sender":)" +
                               std::string(sender) + "}"),
                     {"t", {}, false, {}});
    }
}

// H63: later elements overwrite earlier ones of the same type and state key, as a whole.
TEST(StrippedState, LastElementWins) {
    expect_state(invite_of(element("m.room.create", R"({"type":"old"})"),
                           element("m.room.name", R"({"name":"old"})"),
                           element("m.room.encryption", R"({"algorithm":"x"})"),
                           element("m.room.create", R"({"type":"new"})"),
                           element("m.room.name", R"({"topic":"no name"})"),
                           element("m.room.encryption", R"({"algorithm":null})")),
                 {"new", {}, false, {}});
    // an invalid later one does not
    expect_state(
        invite_of(create, element("m.room.name", R"({"name":"Ops"})"), element("m.room.name", "null")),
        {{}, "Ops", false, {}});
    // nor does another state key
    expect_state(
        invite_of(create, element("m.room.name", R"({"name":"Ops"})"),
                  R"({"type":"m.room.name","state_key":"x","sender":"@a:b","content":{"name":"no"}})"),
        {{}, "Ops", false, {}});
}

// docs/rules.md#reading-json: the last duplicate key wins, on every level.
TEST(StrippedState, DuplicateKeys) {
    const auto list = [](std::string_view room_type) {
        return "[" + element("m.room.create", R"({"type":")" + std::string(room_type) + "\"}") + "]";
    };
    expect_state(R"({"unsigned":{"invite_room_state":)" + list("a") +
                     R"(},"unsigned":{"invite_room_state":)" + list("b") + "}}",
                 {"b", {}, false, {}});
    expect_unknown(R"({"unsigned":{"invite_room_state":)" + list("a") + R"(},"unsigned":{}})");
    expect_unknown(R"({"unsigned":{"invite_room_state":)" + list("a") + R"(},"unsigned":null})");
    expect_state(R"({"unsigned":{"invite_room_state":)" + list("a") + R"(,"invite_room_state":)" + list("b") +
                     "}}",
                 {"b", {}, false, {}});
    expect_unknown(R"({"unsigned":{"invite_room_state":)" + list("a") + R"(,"invite_room_state":null}})");
    expect_unknown(R"({"unsigned":{"invite_room_state":)" + list("a") + R"(,"invite_room_state":[]}})");
    expect_state(
        invite_of(
            R"({"type":"x","content":{"type":"a","name":"n"},"state_key":"k","sender":1,"content":{"type":"b"},)"
            R"("\u0074ype":"m.room.create","state_key":"","sender":"@a:b"})"),
        {"b", {}, false, {}});
    expect_state(invite_of(element("m.room.create", R"({"type":"a","type":"b"})")), {"b", {}, false, {}});
    expect_state(invite_of(R"({"type":"m.room.create","state_key":"","sender":"@a:b","content":{"type":"a"},)"
                           R"("content":{}})"),
                 {});
}

// The keys of an element come in any order, and each column reads its own key.
TEST(StrippedState, KeysAreNotMixedUp) {
    constexpr std::string_view all = R"({"type":"t","algorithm":"a","name":"n","replacement_room":"r"})";
    expect_state(invite_of(element("m.room.create", all)), {"t", {}, false, {}});
    expect_state(invite_of(create, element("m.room.name", all)), {{}, "n", false, {}});
    expect_state(invite_of(create, element("m.room.encryption", all)), {{}, {}, true, {}});
    expect_state(invite_of(create, element("m.room.tombstone", all)), {{}, {}, false, "r"});
    expect_state(invite_of(create, element("m.room.topic", all)), {});
    expect_state(
        invite_of(R"({"content":{"name":"n"},"sender":"@a:b","state_key":"","type":"m.room.name"})", create),
        {{}, "n", false, {}});
}

// docs/rules.md#values, D30: what is no usable string is NULL; any algorithm but null encrypts.
TEST(StrippedState, Values) {
    struct {
        std::string_view value;
        std::optional<std::string> column;
        bool present;
    } const cases[]{
        {R"("x")", "x", true},
        {R"("")", "", true},
        {"null", {}, false},
        {"0", {}, true},
        {"1.5", {}, true},
        {"false", {}, true},
        {"[]", {}, true},
        {R"(["l"])", {}, true},
        {R"(["\u0000"])", {}, true},
        {"{}", {}, true},
        {"NaN", {}, true},
        {"1e400", {}, true},
        {R"("a\u0000")", {}, true},
        {R"("\ud800")", {}, true},  // D30, 3.3: stored by old versions
        {R"("\ud83d\ude00")", "\xF0\x9F\x98\x80", true},
    };
    for (const auto& [value, column, present] : cases) {
        const auto content = [value = value](std::string_view key) {
            return "{\"" + std::string(key) + "\":" + std::string(value) + "}";
        };
        expect_state(invite_of(element("m.room.create", content("type")),
                               element("m.room.name", content("name")),
                               element("m.room.encryption", content("algorithm")),
                               element("m.room.tombstone", content("replacement_room"))),
                     {column, column, present, column});
    }
}

// docs/rules.md#stripped-state: elements without the field.
TEST(StrippedState, FieldsMissing) {
    expect_state(invite_of(create, element("m.room.name", "{}"), element("m.room.encryption", "{}"),
                           element("m.room.tombstone", "{}")),
                 {});
}

// docs/rules.md#reading-json: an unreadable document has no stripped state, however much of it was seen
// before the defect.
TEST(StrippedState, Unreadable) {
    const auto whole = invite_of(element("m.room.create", R"({"type":"t"})"));
    ASSERT_TRUE(read(whole).has_known_state);
    for (std::size_t size = 0; size < whole.size(); ++size) {
        expect_unknown(whole.substr(0, size));
    }
    expect_unknown(whole + "x");
    expect_unknown("\xEF\xBB\xBF" + whole);
    expect_unknown(invite("[" + create + " " + create + "]"));
    expect_unknown(invite("[" + create + ",]"));
}

// H63: 10^5 elements, deep nesting, full events (MSC4311, A12).
TEST(StrippedState, ManyElements) {
    std::string list = "[" + element("m.room.create", R"({"type":"t"})");
    for (int i = 0; i < 100'000; ++i) {
        list += "," + element("m.room.name", R"({"name":"Room )" + std::to_string(i) + "\"}");
    }
    expect_state(invite(list + "]"), {"t", "Room 99999", false, {}});
}

TEST(StrippedState, DeepNesting) {
    const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
    expect_state(invite_of(deep, element("m.room.create", R"({"x":)" + deep + R"(,"type":"t"})"),
                           R"({"x":)" + deep + "}"),
                 {"t", {}, false, {}});
    expect_unknown(invite(deep));
    expect_unknown(invite(std::string(100'000, '[')));
}

TEST(StrippedState, FullEventAsElement) {
    expect_state(
        invite_of(
            R"({"auth_events":[],"content":{"room_version":"12","type":"m.space"},"depth":1,"hashes":{"sha256":"x"},)"
            R"("origin_server_ts":1,"prev_events":[],"sender":"@a:b","signatures":{"b":{"ed25519:1":"x"}},)"
            R"("state_key":"","type":"m.room.create","unsigned":{"invite_room_state":[]}})"),
        {"m.space", {}, false, {}});
}

}  // namespace
}  // namespace sliding_sync::rules
