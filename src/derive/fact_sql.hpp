// Parameters and results of the statements that read facts.
#pragma once

#include <map>

#include "derive/derived_columns.hpp"
#include "pg/catalog.hpp"
#include "pg/parameter_rows.hpp"
#include "pg/spi.hpp"
#include "shared/fact_sql.hpp"

namespace sliding_sync {

/// The event that stood in local_current_membership before the transaction, where that is known; empty: none.
using MembershipsBefore = std::map<MembershipKey, std::string_view>;

/// The keys as the two array parameters of a statement.
struct MembershipKeyColumns {
    std::vector<std::string_view> room_ids;
    std::vector<std::string_view> user_ids;

    explicit MembershipKeyColumns(std::span<const MembershipKey> keys);
};

/// The position (from 0) of a key by its ordinality column (from 1).
[[nodiscard]] std::size_t position(const Cell& ordinality) noexcept;

[[nodiscard]] std::vector<std::string_view> first_column(const Rows& rows);
[[nodiscard]] std::vector<MembershipKey> first_two_columns(const Rows& rows);

}  // namespace sliding_sync
