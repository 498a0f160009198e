// A second reader of documents, to compare with: it checks the whole document before it reads anything.
#pragma once

#include <optional>
#include <simdjson.h>
#include <string_view>

namespace sliding_sync::fuzz {

namespace dom = simdjson::dom;

/// The document, when it is valid JSON from end to end and an object. The rules take more than that, but whatever
/// passes here they must take too. Valid until the next call.
[[nodiscard]] std::optional<dom::object> strict_object(std::string_view json);

/// The last value of a key; nothing when the object has none. Keys are compared unescaped.
[[nodiscard]] std::optional<dom::element> last_value(dom::object object, std::string_view key);

[[nodiscard]] std::optional<dom::object> as_object(std::optional<dom::element> value);
[[nodiscard]] std::optional<std::string_view> as_string(std::optional<dom::element> value);

}  // namespace sliding_sync::fuzz
