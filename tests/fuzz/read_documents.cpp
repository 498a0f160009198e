// What the rules read from documents, for a comparison with another reader. From standard input: the size of a document
// in a line, then the document; again and again. For each of them a line: is it readable, its values and its stripped state.
#include <iostream>
#include <optional>
#include <string>

#include "rules/json.hpp"
#include "rules/stripped_state.hpp"

namespace sliding_sync::rules {
namespace {

std::string hex(std::string_view text) {
    std::string digits;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        digits += "0123456789abcdef"[byte / 16];
        digits += "0123456789abcdef"[byte % 16];
    }
    return digits;
}

std::string shown(const Value& value) {
    switch (value.state) {
    case ValueState::absent:
        return "absent";
    case ValueState::null:
        return "null";
    case ValueState::text:
        return "=" + hex(value.text);
    default:
        return "unusable";
    }
}

std::string shown(const std::optional<std::string>& column) {
    return column ? "=" + hex(*column) : "null";
}

std::string shown(const StrippedState& stripped) {
    const RoomState& state = stripped.state;
    return std::string(stripped.has_known_state ? "known" : "unknown") + "," + shown(state.room_type) + "," +
           shown(state.room_name) + "," + (state.is_encrypted ? "encrypted" : "plain") + "," +
           shown(state.tombstone_successor_room_id);
}

void show(std::string_view document) {
    std::cout << (is_readable(document) ? "readable" : "unreadable");
    for (const auto* key : {"type", "algorithm", "name", "replacement_room"}) {
        std::cout << ' ' << shown(content_value(document, key));
    }
    const InternalMetadata metadata = read_internal_metadata(document);
    std::cout << ' ' << shown(top_level_value(document, "sender")) << ' ' << metadata.out_of_band_membership
              << metadata.recheck_redaction << ' ' << shown(read_stripped_state(document, "invite", false))
              << ' ' << shown(read_stripped_state(document, "knock", false)) << '\n';
}

}  // namespace
}  // namespace sliding_sync::rules

int main() {
    std::string size;
    while (std::getline(std::cin, size)) {
        std::string document(std::stoul(size), '\0');
        std::cin.read(document.data(), static_cast<std::streamsize>(document.size()));
        sliding_sync::rules::show(document);
    }
    return std::cin.eof() ? 0 : 1;
}
