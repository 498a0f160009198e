// From a simdjson value to the value that a rule wants. Private to the JSON rules.
#pragma once

#include "rules/json.hpp"
#include "rules/json_walk.hpp"

namespace sliding_sync::rules {

/// Reads a wanted value. Never fails: what cannot be a column value is `unusable`.
[[nodiscard]] Value read_value(json_walk::ondemand::value& value);

}  // namespace sliding_sync::rules
