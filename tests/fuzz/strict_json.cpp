#include "strict_json.hpp"

namespace sliding_sync::fuzz {

std::optional<dom::object> strict_object(std::string_view json) {
    static dom::parser parser;
    dom::object object;
    // Newer versions of the library skip a byte order mark; the rules refuse it.
    if (json.empty() || json.starts_with("\xEF\xBB\xBF") ||
        parser.parse(json.data(), json.size()).get_object().get(object) != simdjson::SUCCESS) {
        return std::nullopt;
    }
    return object;
}

std::optional<dom::element> last_value(dom::object object, std::string_view key) {
    std::optional<dom::element> last;
    for (const auto field : object) {
        if (field.key == key) {
            last = field.value;
        }
    }
    return last;
}

std::optional<dom::object> as_object(std::optional<dom::element> value) {
    dom::object object;
    return value && value->get_object().get(object) == simdjson::SUCCESS ? std::optional(object)
                                                                         : std::nullopt;
}

std::optional<std::string_view> as_string(std::optional<dom::element> value) {
    std::string_view text;
    return value && value->get_string().get(text) == simdjson::SUCCESS ? std::optional(text) : std::nullopt;
}

}  // namespace sliding_sync::fuzz
