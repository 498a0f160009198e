#include "rules/event_types.hpp"

#include <algorithm>

namespace sliding_sync::rules {

std::optional<StateKind> state_kind(std::string_view event_type) noexcept {
    const auto found = std::ranges::find(relevant_state_types, event_type);
    if (found == relevant_state_types.end()) {
        return std::nullopt;
    }
    return static_cast<StateKind>(found - relevant_state_types.begin());
}

bool is_bump_type(std::string_view event_type) noexcept {
    return std::ranges::find(bump_types, event_type) != bump_types.end();
}

}  // namespace sliding_sync::rules
