#include "rules/json.hpp"

#include "rules/json_value.hpp"
#include "rules/json_walk.hpp"

namespace sliding_sync::rules {

namespace ondemand = json_walk::ondemand;

Value read_value(ondemand::value& value) {
    switch (json_walk::type_of(value)) {
    case json_walk::Type::null:
        return {ValueState::null, {}};
    case json_walk::Type::string: {
        std::string_view text;
        if (value.get_string().get(text) != simdjson::SUCCESS || text.find('\0') != std::string_view::npos) {
            return {ValueState::unusable, {}};
        }
        return {ValueState::text, std::string(text)};
    }
    default:
        return {ValueState::unusable, {}};
    }
}

std::optional<std::string> Value::column() const {
    return state == ValueState::text ? std::optional(text) : std::nullopt;
}

Value content_value(std::string_view event_json, std::string_view key) {
    Value wanted;
    const bool readable =
        json_walk::walk_document(event_json, [&](std::string_view name, ondemand::value& content) {
            if (name != "content") {
                return simdjson::SUCCESS;
            }
            wanted = {};  // an earlier duplicate of `content` is overruled as a whole
            return json_walk::walk_object(content, [&](std::string_view field, ondemand::value& value) {
                if (field == key) {
                    wanted = read_value(value);
                }
                return simdjson::SUCCESS;
            });
        });
    return readable ? wanted : Value{};
}

Value top_level_value(std::string_view event_json, std::string_view key) {
    Value wanted;
    const bool readable =
        json_walk::walk_document(event_json, [&](std::string_view name, ondemand::value& value) {
            if (name == key) {
                wanted = read_value(value);
            }
            return simdjson::SUCCESS;
        });
    return readable ? wanted : Value{};
}

bool is_readable(std::string_view event_json) {
    return json_walk::walk_document(
        event_json, [](std::string_view /*name*/, ondemand::value& /*value*/) { return simdjson::SUCCESS; });
}

InternalMetadata read_internal_metadata(std::string_view json) {
    const auto is_true = [](ondemand::value& value) {
        bool flag = false;
        return json_walk::type_of(value) == json_walk::Type::boolean &&
               value.get_bool().get(flag) == simdjson::SUCCESS && flag;
    };
    InternalMetadata metadata;
    const bool readable = json_walk::walk_document(json, [&](std::string_view name, ondemand::value& value) {
        if (name == "out_of_band_membership") {
            metadata.out_of_band_membership = is_true(value);
        } else if (name == "recheck_redaction") {
            metadata.recheck_redaction = is_true(value);
        }
        return simdjson::SUCCESS;
    });
    return readable ? metadata : InternalMetadata{};
}

}  // namespace sliding_sync::rules
