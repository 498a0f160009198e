// What a room list's filters read out of JSON: which rooms are direct, and whether an event makes a room a
// space's child.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sliding_sync::rules {

/// All strings in the lists of a user's `m.direct`, a few perhaps more than once. A client may have stored
/// anything: what is no such string, or cannot be a room's id in PostgreSQL, is passed over, and an
/// unreadable document has none.
[[nodiscard]] std::vector<std::string> direct_rooms(std::string_view content);

/// True when `content.via` of an `m.space.child` event holds at least one string.
[[nodiscard]] bool names_a_server(std::string_view event_json);

}  // namespace sliding_sync::rules
