// Reads single values out of event JSON as the homeserver's own parser, Python's json, reads them: the last
// duplicate key wins, keys are compared unescaped (docs/rules.md#reading-json). Nothing asks the input to be
// valid, and nothing throws but std::bad_alloc.
//
// A document is unreadable when it is not one whole JSON object: empty, truncated, broken anywhere, followed
// by anything but space, not UTF-8, with a byte order mark in front. What that parser takes is readable: NaN,
// 1e400, lone surrogates; and, beyond it, numbers of any length and any depth of nesting.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sliding_sync::rules {

/// What stands in the place of a wanted value.
enum class ValueState : std::uint8_t {
    absent,    ///< no such key, or an enclosing object is missing
    null,      ///< JSON null
    text,      ///< a string PostgreSQL can store
    unusable,  ///< any other type, or a string with U+0000 or a lone surrogate
};

struct Value {
    ValueState state = ValueState::absent;
    std::string text;  ///< UTF-8; filled only for ValueState::text

    /// The column value: the text when there is a usable one (docs/rules.md#values), otherwise SQL NULL.
    [[nodiscard]] std::optional<std::string> column() const;
    /// True when the key is there with anything but null: `is_encrypted` (docs/rules.md#values).
    [[nodiscard]] bool present() const noexcept {
        return state == ValueState::text || state == ValueState::unusable;
    }
};

/// The value that a piece of a readable document is; absent when it is empty.
[[nodiscard]] Value value_of(std::string_view json);

/// `content.<key>` of an event; absent when the document is unreadable or its content is not an
/// object.
[[nodiscard]] Value content_value(std::string_view event_json, std::string_view key);

/// `<key>` at the top of a document, e.g. `sender` (H46); absent when the document is unreadable.
[[nodiscard]] Value top_level_value(std::string_view event_json, std::string_view key);

/// True when the whole document can be read as one JSON object: to a homeserver, an event that is not is no
/// event (docs/rules.md#reading-json).
[[nodiscard]] bool is_readable(std::string_view event_json);

/// The flags of `event_json.internal_metadata` that matter here (docs/rules.md#internal-metadata).
struct InternalMetadata {
    bool out_of_band_membership = false;
    bool recheck_redaction = false;
    bool soft_failed = false;
};

/// Only JSON `true` sets a flag; all are false when the document is unreadable.
[[nodiscard]] InternalMetadata read_internal_metadata(std::string_view json);

}  // namespace sliding_sync::rules
