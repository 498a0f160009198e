// What a text column of PostgreSQL can store.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sliding_sync::fuzz {

/// Well-formed UTF-8 (RFC 3629): no overlong form, no surrogate, nothing above U+10FFFF.
[[nodiscard]] bool is_utf8(std::string_view text) noexcept;

/// NULL, or UTF-8 without U+0000.
void require_storable(const std::optional<std::string>& column);

}  // namespace sliding_sync::fuzz
