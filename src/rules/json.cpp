#include "rules/json.hpp"

#include "rules/json_text.hpp"

namespace sliding_sync::rules {

using json_text::last_field;

std::optional<std::string> Value::column() const {
    return state == ValueState::text ? std::optional(text) : std::nullopt;
}

Value value_of(std::string_view json) {
    if (json.empty()) {
        return {};
    }
    if (json == "null") {
        return {ValueState::null, {}};
    }
    auto text = json_text::unescaped(json);
    if (!text || text->find('\0') != std::string::npos) {
        return {ValueState::unusable, {}};
    }
    return {ValueState::text, std::move(*text)};
}

Value content_value(std::string_view event_json, std::string_view key) {
    return value_of(last_field(last_field(event_json, "content"), key));
}

Value top_level_value(std::string_view event_json, std::string_view key) {
    return value_of(last_field(event_json, key));
}

bool is_readable(std::string_view event_json) {
    return json_text::each_field(event_json, [](std::string_view /*key*/, std::string_view /*value*/) {});
}

InternalMetadata read_internal_metadata(std::string_view json) {
    const auto [out_of_band_membership, recheck_redaction, soft_failed] =
        json_text::last_fields<3>(json, {"out_of_band_membership", "recheck_redaction", "soft_failed"});
    return {.out_of_band_membership = out_of_band_membership == "true",
            .recheck_redaction = recheck_redaction == "true",
            .soft_failed = soft_failed == "true"};
}

}  // namespace sliding_sync::rules
