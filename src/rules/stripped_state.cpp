#include "rules/stripped_state.hpp"

#include <array>
#include <cstddef>
#include <optional>

#include "rules/json.hpp"
#include "rules/json_text.hpp"

namespace sliding_sync::rules {

namespace {

using json_text::last_field;

/// The content key that becomes a column, in the order of `StateKind`.
constexpr std::array<std::string_view, state_kind_count> content_keys{"type", "algorithm", "name",
                                                                      "replacement_room"};

/// What the last valid element of each kind says; nothing where there is none.
using Found = std::array<std::optional<Value>, state_kind_count>;

/// An element counts when it is an object with string `type`, `state_key` and `sender` and object `content`.
void read_element(std::string_view element, Found& found) {
    const auto [type, state_key, sender, content] =
        json_text::last_fields<4>(element, {"type", "state_key", "sender", "content"});
    const auto kind = state_kind(json_text::unescaped(type).value_or(""));
    if (kind && json_text::unescaped(state_key) == "" && sender.starts_with('"') &&
        content.starts_with('{')) {
        const auto index = static_cast<std::size_t>(*kind);
        found[index] = value_of(last_field(content, content_keys[index]));
    }
}

/// The elements of `unsigned.<list_key>`; empty when the document is unreadable or there is no such list.
Found read_elements(std::string_view event_json, std::string_view list_key) {
    Found found;
    const std::string_view list = last_field(last_field(event_json, "unsigned"), list_key);
    const bool is_list =
        json_text::each_element(list, [&](std::string_view element) { read_element(element, found); });
    return is_list ? found : Found{};
}

}  // namespace

StrippedState read_stripped_state(std::string_view event_json, std::string_view membership, bool redacted) {
    const std::string_view list_key = membership == "invite"  ? "invite_room_state"
                                      : membership == "knock" ? "knock_room_state"
                                                              : "";
    if (redacted || list_key.empty()) {
        return {};
    }
    const auto found = read_elements(event_json, list_key);
    const auto value = [&](StateKind kind) {
        return found[static_cast<std::size_t>(kind)].value_or(Value{});
    };
    if (!found[static_cast<std::size_t>(StateKind::create)]) {
        return {};
    }
    return {
        .has_known_state = true,
        .state =
            {
                .room_type = value(StateKind::create).column(),
                .room_name = value(StateKind::name).column(),
                .is_encrypted = value(StateKind::encryption).present(),
                .tombstone_successor_room_id = value(StateKind::tombstone).column(),
            },
    };
}

}  // namespace sliding_sync::rules
