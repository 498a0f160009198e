// Text without the difference between capital and small letters, as a search for names needs it.
#pragma once

#include <string>
#include <string_view>

namespace sliding_sync::rules {

/// Each code point by its simple lower-case mapping (Unicode 14): one code point stays one, whatever stands
/// around it, and no locale matters. What is no UTF-8 stays as it is.
[[nodiscard]] std::string lower_case(std::string_view text);

}  // namespace sliding_sync::rules
