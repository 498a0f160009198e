#include "derive/fact_sql.hpp"

namespace sliding_sync {

namespace {

template <std::size_t count>
std::string sql_array(const std::array<std::string_view, count>& values) {
    std::string array = "ARRAY[";
    for (const std::string_view value : values) {
        array += (array.back() == '[' ? "'" : ",'") + std::string(value) + "'";
    }
    return array + "]";
}

}  // namespace

MembershipKeyColumns::MembershipKeyColumns(std::span<const MembershipKey> keys) {
    room_ids.reserve(keys.size());
    user_ids.reserve(keys.size());
    for (const MembershipKey& key : keys) {
        room_ids.push_back(key.room_id);
        user_ids.push_back(key.user_id);
    }
}

const std::string& relevant_types_array() {
    static const std::string array = sql_array(rules::relevant_state_types);
    return array;
}

const std::string& bump_types_array() {
    static const std::string array = sql_array(rules::bump_types);
    return array;
}

std::string is_rejected(const HomeserverSchema& schema, const std::string& event) {
    std::string condition = "(" + event + ".rejection_reason IS NOT NULL";
    if (schema.has_rejections) {
        condition += " OR EXISTS (SELECT FROM %S.rejections x WHERE x.event_id %= " + event + ".event_id)";
    }
    return condition + ")";
}

std::string latest_ordering(const HomeserverSchema& schema, const std::string& room) {
    return "(SELECT e.stream_ordering FROM %S.events e WHERE e.room_id %= " + room +
           " AND NOT e.outlier AND e.stream_ordering IS NOT NULL AND NOT " + is_rejected(schema, "e") +
           " ORDER BY e.stream_ordering DESC LIMIT 1)";
}

std::string latest_bump_ordering(const HomeserverSchema& schema, const std::string& room) {
    return "(SELECT e.stream_ordering FROM %S.events e WHERE e.room_id %= " + room +
           " AND NOT e.outlier AND e.stream_ordering %> 0 AND e.type %= ANY (" + bump_types_array() +
           ") AND NOT " + is_rejected(schema, "e") + " ORDER BY e.stream_ordering DESC LIMIT 1)";
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
