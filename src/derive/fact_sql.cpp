#include "derive/fact_sql.hpp"

namespace sliding_sync {

MembershipKeyColumns::MembershipKeyColumns(std::span<const MembershipKey> keys) {
    room_ids.reserve(keys.size());
    user_ids.reserve(keys.size());
    for (const MembershipKey& key : keys) {
        room_ids.push_back(key.room_id);
        user_ids.push_back(key.user_id);
    }
}

std::size_t position(const Cell& ordinality) noexcept {
    return static_cast<std::size_t>(ordinality.number - 1);
}

std::vector<std::string_view> first_column(const Rows& rows) {
    std::vector<std::string_view> values;
    values.reserve(rows.count);
    for (std::size_t i = 0; i < rows.count; ++i) {
        values.push_back(rows[i][0].text());
    }
    return values;
}

std::vector<MembershipKey> first_two_columns(const Rows& rows) {
    std::vector<MembershipKey> keys;
    keys.reserve(rows.count);
    for (std::size_t i = 0; i < rows.count; ++i) {
        keys.push_back({rows[i][0].text(), rows[i][1].text()});
    }
    return keys;
}

}  // namespace sliding_sync
