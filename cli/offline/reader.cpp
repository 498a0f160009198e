#include "cli/offline/reader.hpp"

#include "cli/offline/derived_rows.hpp"
#include "cli/sql.hpp"
#include "shared/sql_text.hpp"

namespace sliding_sync::cli::offline {

namespace {

bool is_digit(char sign) noexcept {
    return sign >= '0' && sign <= '9';
}

// Neither the schema's name nor a value is looked at again: they may hold anything.
std::string filled(std::string_view text, std::string_view schema, const Parameters& parameters) {
    std::string sql;
    while (true) {
        const auto parameter = text.find('$');
        sql += sql_text(text.substr(0, parameter), schema);
        if (parameter == std::string_view::npos) {
            return sql;
        }
        text.remove_prefix(parameter + 1);
        std::size_t number = 0;
        while (!text.empty() && is_digit(text.front())) {
            number = number * 10 + static_cast<std::size_t>(text.front() - '0');
            text.remove_prefix(1);
        }
        sql += parameters.at(number - 1).sql;
    }
}

// RowsStatement of the extension
std::string with_rows(std::string text, std::string_view rows) {
    constexpr std::string_view place = "%R";
    return text.replace(text.find(place), place.size(), rows);
}

}  // namespace

Parameter::Parameter(const Texts& values) {
    for (const std::string& value : values) {
        sql += (sql.empty() ? "" : ",") + sql_literal(value);
    }
    sql = "ARRAY[" + sql + "]::text[]";
}

Parameter::Parameter(const std::string& value) : sql(sql_literal(value)) {}

Parameters columns_of(const MembershipKeys& keys) {
    Texts room_ids;
    Texts user_ids;
    for (const MembershipKey& key : keys) {
        room_ids.push_back(key.room_id);
        user_ids.push_back(key.user_id);
    }
    return {room_ids, user_ids};
}

std::optional<std::int64_t> optional_number(const Value& value) {
    return value ? std::optional<std::int64_t>(std::stoll(*value)) : std::nullopt;
}

std::size_t position(const Value& ordinality) {
    return static_cast<std::size_t>(std::stoll(*ordinality) - 1);
}

std::string may_be_redacted(const OptionalTables& tables) {
    std::string condition = "(EXISTS (SELECT FROM %S.redactions x WHERE x.redacts %= e.event_id)";
    if (tables.has_ban_redactions) {
        condition += " OR EXISTS (SELECT FROM %S.room_ban_redactions x WHERE x.room_id %= e.room_id)";
    }
    return condition + ")";
}

Rows Reader::ask(std::string_view text, const Parameters& parameters) {
    return run(database_, filled(text, homeserver_.quoted_schema(), parameters), options_);
}

std::set<std::string> Reader::in_rooms(const Texts& room_ids) {
    const Rows rows = ask("SELECT r.room_id FROM %S.rooms r WHERE r.room_id %= ANY ($1)", {room_ids});
    std::set<std::string> found;
    for (const auto& row : rows.values) {
        found.insert(*row[0]);
    }
    return found;
}

std::map<std::string, rules::JoinedRoom> Reader::stored_rooms(const Texts& room_ids) {
    std::map<std::string, rules::JoinedRoom> found;
    const Rows rows = ask("SELECT " + column_list<JoinedRoomColumns>("j") + " FROM %S." +
                              JoinedRoomColumns::name + " j WHERE j.room_id %= ANY ($1)",
                          {room_ids});
    for (const auto& values : rows.values) {
        rules::JoinedRoom row = derived_row<JoinedRoomColumns>(values);
        const std::string room_id = row.room_id;
        found.emplace(room_id, std::move(row));
    }
    return found;
}

std::map<std::string, Orderings> Reader::orderings(const Texts& room_ids) {
    std::map<std::string, Orderings> found;
    if (room_ids.empty()) {
        return found;
    }
    const Rows rows = ask(with_rows(orderings_text(tables()),
                                    "ROWS FROM (pg_catalog.unnest($1)) WITH ORDINALITY k(room_id, n)"),
                          {room_ids});
    for (const auto& row : rows.values) {
        found[room_ids.at(position(row[0]))] = {optional_number(row[1]), optional_number(row[2])};
    }
    return found;
}

std::map<std::string, StateEventIds> Reader::current_state(const Texts& room_ids) {
    std::map<std::string, StateEventIds> found;
    if (room_ids.empty()) {
        return found;
    }
    const Rows rows = ask("SELECT c.room_id, c.type, c.event_id FROM %S.current_state_events c "
                          "WHERE c.room_id %= ANY ($1) AND c.type %= ANY (" +
                              relevant_types_array() + ") AND c.state_key %= ''",
                          {room_ids});
    for (const auto& row : rows.values) {
        if (const auto kind = rules::state_kind(*row[1])) {
            found[*row[0]][static_cast<std::size_t>(*kind)] = *row[2];
        }
    }
    return found;
}

}  // namespace sliding_sync::cli::offline
