// Pieces of SQL and of reading that the statements of several fact readers share.
#pragma once

#include <map>

#include "derive/derived_columns.hpp"
#include "pg/catalog.hpp"
#include "pg/parameter_rows.hpp"
#include "pg/spi.hpp"
#include "rules/event_types.hpp"

namespace sliding_sync {

/// The event that stood in local_current_membership before the transaction, where that is known; empty: none.
using MembershipsBefore = std::map<MembershipKey, std::string_view>;

/// The keys as the two array parameters of a statement.
struct MembershipKeyColumns {
    std::vector<std::string_view> room_ids;
    std::vector<std::string_view> user_ids;

    explicit MembershipKeyColumns(std::span<const MembershipKey> keys);
};

/// The relevant state types and the bump types as SQL arrays.
[[nodiscard]] const std::string& relevant_types_array();
[[nodiscard]] const std::string& bump_types_array();

/// Conditions on the `events` row with the alias `event`; templates for `sql_text`.
[[nodiscard]] std::string is_rejected(const HomeserverSchema& schema, const std::string& event);

/// Scalar subqueries on the newest eligible event of a room, and on the newest of a bump type (D5-D7, H72); `room` is the
/// expression of its id. Templates for `sql_text`.
[[nodiscard]] std::string latest_ordering(const HomeserverSchema& schema, const std::string& room);
[[nodiscard]] std::string latest_bump_ordering(const HomeserverSchema& schema, const std::string& room);

/// The position (from 0) of a key by its ordinality column (from 1).
[[nodiscard]] std::size_t position(const Cell& ordinality) noexcept;

[[nodiscard]] std::vector<std::string_view> first_column(const Rows& rows);
[[nodiscard]] std::vector<MembershipKey> first_two_columns(const Rows& rows);

}  // namespace sliding_sync
