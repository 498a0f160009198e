// Text from a database on a terminal: how wide it is, and that it cannot command the terminal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sliding_sync::cli {

/// Chooses the character set of the terminal; call it once, before the others.
void use_locale();

/// Control characters as \n, \x1B and so on, what is no UTF-8 as \xHH: a room's name may hold anything.
[[nodiscard]] std::string printable(std::string_view text);
/// The same, but line ends stay.
[[nodiscard]] std::string printable_lines(std::string_view text);

/// A number with commas between thousands.
[[nodiscard]] std::string grouped(std::int64_t value);

/// Columns that printable text takes on a terminal.
[[nodiscard]] std::size_t display_width(std::string_view text);

/// Printable text in pieces of at most this width, at least one.
[[nodiscard]] std::vector<std::string> wrapped(std::string_view text, std::size_t width);

/// Printable text cut to a width, with "..." where something is missing.
[[nodiscard]] std::string shortened(std::string_view text, std::size_t width);

}  // namespace sliding_sync::cli
