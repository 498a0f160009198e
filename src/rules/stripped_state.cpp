#include "rules/stripped_state.hpp"

#include <array>
#include <cstddef>
#include <optional>
#include <utility>

#include "rules/json.hpp"
#include "rules/json_value.hpp"
#include "rules/json_walk.hpp"

namespace sliding_sync::rules {

namespace {

namespace ondemand = json_walk::ondemand;

/// The content key that becomes a column, in the order of `StateKind`.
constexpr std::array<std::string_view, state_kind_count> content_keys{"type", "algorithm", "name",
                                                                      "replacement_room"};
using Values = std::array<Value, state_kind_count>;

/// What the last valid element of each kind says; nothing where there is none.
using Found = std::array<std::optional<Value>, state_kind_count>;

/// A string of an element; nothing for other types, and for a lone surrogate: no text that is looked for has
/// one.
std::optional<std::string_view> read_text(ondemand::value& value) {
    std::string_view text;
    if (json_walk::type_of(value) != json_walk::Type::string ||
        value.get_string().get(text) != simdjson::SUCCESS) {
        return std::nullopt;
    }
    return text;
}

/// The type of an element comes before or behind its content, so all four keys are noted and the type
/// chooses.
simdjson::error_code read_content(ondemand::value& value, Values& values) {
    values = {};
    return json_walk::walk_object(value, [&](std::string_view key, ondemand::value& field) {
        for (std::size_t kind = 0; kind < state_kind_count; ++kind) {
            if (key == content_keys[kind]) {
                values[kind] = read_value(field);
            }
        }
        return simdjson::SUCCESS;
    });
}

/// An element counts when it is an object with string `type`, `state_key` and `sender` and object `content`.
simdjson::error_code read_element(ondemand::value& element, Found& found) {
    std::optional<std::string_view> type;
    std::optional<std::string_view> state_key;
    bool has_sender = false;
    bool has_content = false;
    Values values;
    const auto error = json_walk::walk_object(element, [&](std::string_view key, ondemand::value& value) {
        if (key == "type") {
            type = read_text(value);
        } else if (key == "state_key") {
            state_key = read_text(value);
        } else if (key == "sender") {
            has_sender = json_walk::type_of(value) == json_walk::Type::string;
        } else if (key == "content") {
            has_content = json_walk::type_of(value) == json_walk::Type::object;
            return read_content(value, values);
        }
        return simdjson::SUCCESS;
    });
    if (error != simdjson::SUCCESS) {
        return error;
    }
    const auto kind = type ? state_kind(*type) : std::nullopt;
    if (kind && state_key == "" && has_sender && has_content) {
        const auto index = static_cast<std::size_t>(*kind);
        found[index] = std::move(values[index]);
    }
    return simdjson::SUCCESS;
}

/// The elements of `unsigned.<list_key>`; empty when the document is unreadable or there is no such list.
Found read_elements(std::string_view event_json, std::string_view list_key) {
    Found found;
    const bool readable =
        json_walk::walk_document(event_json, [&](std::string_view name, ondemand::value& value) {
            if (name != "unsigned") {
                return simdjson::SUCCESS;
            }
            found = {};
            return json_walk::walk_object(value, [&](std::string_view key, ondemand::value& list) {
                if (key != list_key) {
                    return simdjson::SUCCESS;
                }
                found = {};
                return json_walk::walk_array(
                    list, [&](ondemand::value& element) { return read_element(element, found); });
            });
        });
    return readable ? found : Found{};
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
