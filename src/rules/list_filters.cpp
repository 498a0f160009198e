#include "rules/list_filters.hpp"

#include <map>
#include <utility>

#include "rules/json.hpp"
#include "rules/json_text.hpp"

namespace sliding_sync::rules {

std::vector<std::string> direct_rooms(std::string_view content) {
    std::map<std::string, std::string_view> lists;  // by user: the last of several of the same name counts
    const bool is_object = json_text::each_field(content, [&](std::string_view key, std::string_view value) {
        lists[json_text::unescaped(key).value_or(std::string(key))] = value;
    });
    std::vector<std::string> rooms;
    if (!is_object) {
        return rooms;
    }
    for (const auto& [user, list] : lists) {
        const std::size_t before = rooms.size();
        const bool is_list = json_text::each_element(list, [&](std::string_view element) {
            Value value = value_of(element);
            if (value.state == ValueState::text) {
                rooms.push_back(std::move(value.text));
            }
        });
        if (!is_list) {
            rooms.resize(before);
        }
    }
    return rooms;
}

bool names_a_server(std::string_view event_json) {
    const std::string_view content = json_text::last_field(event_json, "content");
    bool has_string = false;
    const bool is_list =
        json_text::each_element(json_text::last_field(content, "via"), [&](std::string_view element) {
            has_string = has_string || element.front() == '"';
        });
    return is_list && has_string;
}

}  // namespace sliding_sync::rules
