#include "invariants.hpp"

#include <array>
#include <cstddef>
#include <optional>
#include <string>

#include "column_text.hpp"
#include "rules/json.hpp"
#include "rules/stripped_state.hpp"
#include "strict_json.hpp"
#include "variants.hpp"

namespace sliding_sync::fuzz {

namespace {

using rules::read_stripped_state;
using rules::StrippedState;

constexpr std::array<std::string_view, 2> memberships{"invite", "knock"};
constexpr std::array<std::string_view, 2> list_keys{"invite_room_state", "knock_room_state"};
constexpr std::string_view known_list =
    R"([{"type":"m.room.create","state_key":"","sender":"@o:o","content":{"type":"t"}},)"
    R"({"type":"m.room.name","state_key":"","sender":"@o:o","content":{"name":"Last"}}])";

/// What `known_list` says.
StrippedState last_known() {
    StrippedState known;
    known.has_known_state = true;
    known.state.room_type = "t";
    known.state.room_name = "Last";
    return known;
}

bool same(const StrippedState& left, const StrippedState& right) {
    return left.has_known_state == right.has_known_state && left.state == right.state;
}

void require_nothing(const StrippedState& state, const char* invariant) {
    require(same(state, StrippedState{}), invariant);
}

/// The content of the last valid element of a type (docs/rules.md#stripped-state), by the strict reader.
std::optional<dom::object> strict_content(dom::array list, std::string_view type) {
    std::optional<dom::object> last;
    for (const auto element : list) {
        const auto object = as_object(element);
        if (!object) {
            continue;
        }
        const auto content = as_object(last_value(*object, "content"));
        if (as_string(last_value(*object, "type")) == type &&
            as_string(last_value(*object, "state_key")) == "" && as_string(last_value(*object, "sender")) &&
            content) {
            last = content;
        }
    }
    return last;
}

StrippedState strict_state(dom::object event, std::string_view list_key) {
    const auto stripped = as_object(last_value(event, "unsigned"));
    const auto value = stripped ? last_value(*stripped, list_key) : std::nullopt;
    dom::array list;
    if (!value || value->get_array().get(list) != simdjson::SUCCESS ||
        !strict_content(list, "m.room.create")) {
        return {};
    }
    const auto field = [&](std::string_view type, std::string_view key) {
        const auto content = strict_content(list, type);
        return content ? last_value(*content, key) : std::nullopt;
    };
    const auto column = [&](std::string_view type, std::string_view key) -> std::optional<std::string> {
        const auto text = as_string(field(type, key));
        return text && text->find('\0') == std::string_view::npos ? std::optional<std::string>(*text)
                                                                  : std::nullopt;
    };
    const auto algorithm = field("m.room.encryption", "algorithm");
    return {.has_known_state = true,
            .state = {.room_type = column("m.room.create", "type"),
                      .room_name = column("m.room.name", "name"),
                      .is_encrypted = algorithm && !algorithm->is_null(),
                      .tombstone_successor_room_id = column("m.room.tombstone", "replacement_room")}};
}

// The document as the only element of a list: the two readers of JSON must see the same in it.
void check_as_element(std::string_view document) {
    const std::string event = R"({"unsigned":{"invite_room_state":[)" + std::string(document) + "]}}";
    const StrippedState state = read_stripped_state(event, "invite", false);
    if (!state.has_known_state) {
        return;
    }
    using rules::top_level_value;
    require(top_level_value(document, "type").column() == "m.room.create" &&
                top_level_value(document, "state_key").column() == "" &&
                top_level_value(document, "sender").present(),
            "only a valid create element makes state known");
    require(state.state.room_type == rules::content_value(document, "type").column(),
            "an element is read as an event is");
    require(!state.state.room_name && !state.state.is_encrypted && !state.state.tombstone_successor_room_id,
            "a create element says nothing of other types");
}

}  // namespace

void check_stripped_state(std::string_view event_json) {
    const bool readable = rules::is_readable(event_json);
    const auto strict = strict_object(event_json);
    for (std::size_t i = 0; i < memberships.size(); ++i) {
        const StrippedState state = read_stripped_state(event_json, memberships[i], false);
        require(state.has_known_state || same(state, StrippedState{}), "unknown state is empty");
        require(readable || !state.has_known_state, "an unreadable event knows nothing");
        require_storable(state.state.room_type);
        require_storable(state.state.room_name);
        require_storable(state.state.tombstone_successor_room_id);
        require_nothing(read_stripped_state(event_json, memberships[i], true),
                        "a redacted event knows nothing");
        require(same(read_stripped_state(event_json, memberships[i], false), state),
                "an event reads the same again");
        require(!strict || same(state, strict_state(*strict, list_keys[i])),
                "stripped state is what a strict reader says");
        if (event_json.find('\\') == std::string_view::npos &&
            event_json.find(list_keys[i]) == std::string_view::npos) {
            require_nothing(state, "an event without the list knows nothing");
        }
        if (readable) {
            const std::string field =
                R"("unsigned":{")" + std::string(list_keys[i]) + "\":" + std::string(known_list) + "}";
            require(
                same(read_stripped_state(with_field(event_json, field), memberships[i], false), last_known()),
                "the last unsigned wins as a whole");
        }
    }
    for (const auto* membership : {"join", "leave", "ban", "", "Invite"}) {
        require_nothing(read_stripped_state(event_json, membership, false),
                        "only invites and knocks have some");
    }
    if (readable) {
        check_as_element(event_json);
    }
}

}  // namespace sliding_sync::fuzz
