#include "cli/offline/reader.hpp"

#include <fmt/format.h>

#include "cli/sql.hpp"

namespace sliding_sync::cli::offline {

namespace {

std::string bump_types() {
    return sql_array(Texts(rules::bump_types.begin(), rules::bump_types.end()));
}

std::string newest(const std::string& events, const std::string& condition, const std::string& rejected) {
    return fmt::format(
        "(SELECT e.stream_ordering FROM {} e WHERE e.room_id = k.room_id AND NOT e.outlier AND {} "
        "AND NOT {} ORDER BY e.stream_ordering DESC LIMIT 1)",
        events, condition, rejected);
}

}  // namespace

std::string sql_array(const Texts& values) {
    std::string items;
    for (const std::string& value : values) {
        items += (items.empty() ? "" : ",") + sql_literal(value);
    }
    return fmt::format("ARRAY[{}]::text[]", items);
}

std::string relevant_types() {
    return sql_array(Texts(rules::relevant_state_types.begin(), rules::relevant_state_types.end()));
}

std::string membership_rows(const MembershipKeys& keys) {
    Texts rooms;
    Texts users;
    for (const MembershipKey& key : keys) {
        rooms.push_back(key.room_id);
        users.push_back(key.user_id);
    }
    return fmt::format("unnest({}, {}) WITH ORDINALITY k(room_id, user_id, n)", sql_array(rooms),
                       sql_array(users));
}

std::optional<std::int64_t> optional_number(const Value& value) {
    return value ? std::optional<std::int64_t>(std::stoll(*value)) : std::nullopt;
}

std::size_t position(const Value& ordinality) {
    return static_cast<std::size_t>(std::stoll(*ordinality) - 1);
}

rules::RoomState room_state(const Rows& rows, std::size_t row) {
    return {rows.at(row, "room_type"), rows.at(row, "room_name"), rows.at(row, "is_encrypted") == "t",
            rows.at(row, "tombstone_successor_room_id")};
}

std::string Reader::is_rejected() const {
    if (!homeserver_.has_rejections) {
        return "(e.rejection_reason IS NOT NULL)";
    }
    return fmt::format(
        "(e.rejection_reason IS NOT NULL OR EXISTS (SELECT FROM {} x WHERE x.event_id = e.event_id))",
        t("rejections"));
}

std::string Reader::may_be_redacted() const {
    std::string condition =
        fmt::format("(EXISTS (SELECT FROM {} x WHERE x.redacts = e.event_id)", t("redactions"));
    if (homeserver_.has_ban_redactions) {
        condition += fmt::format(" OR EXISTS (SELECT FROM {} x WHERE x.room_id = e.room_id)",
                                 t("room_ban_redactions"));
    }
    return condition + ")";
}

std::set<std::string> Reader::in_rooms(const Texts& room_ids) {
    const Rows rows = ask(fmt::format("SELECT r.room_id FROM {} r WHERE r.room_id = ANY ({})", t("rooms"),
                                      sql_array(room_ids)));
    std::set<std::string> found;
    for (const auto& row : rows.values) {
        found.insert(*row[0]);
    }
    return found;
}

std::map<std::string, rules::JoinedRoom> Reader::stored_rooms(const Texts& room_ids) {
    std::map<std::string, rules::JoinedRoom> found;
    const Rows rows = ask(fmt::format("SELECT j.room_id, j.event_stream_ordering, j.bump_stamp, j.room_type, "
                                      "j.room_name, j.is_encrypted, j.tombstone_successor_room_id FROM {} j "
                                      "WHERE j.room_id = ANY ({})",
                                      t("sliding_sync_joined_rooms"), sql_array(room_ids)));
    for (std::size_t i = 0; i < rows.values.size(); ++i) {
        const std::string room_id = *rows.at(i, "room_id");
        found[room_id] = {room_id, *optional_number(rows.at(i, "event_stream_ordering")),
                          optional_number(rows.at(i, "bump_stamp")), room_state(rows, i)};
    }
    return found;
}

std::map<std::string, Orderings> Reader::orderings(const Texts& room_ids) {
    std::map<std::string, Orderings> found;
    if (room_ids.empty()) {
        return found;
    }
    const std::string latest = newest(t("events"), "e.stream_ordering IS NOT NULL", is_rejected());
    const std::string bump = newest(
        t("events"), fmt::format("e.stream_ordering > 0 AND e.type = ANY ({})", bump_types()), is_rejected());
    const Rows rows = ask(fmt::format("SELECT k.room_id, {}, {} FROM unnest({}) k(room_id)", latest, bump,
                                      sql_array(room_ids)));
    for (const auto& row : rows.values) {
        found[*row[0]] = {optional_number(row[1]), optional_number(row[2])};
    }
    return found;
}

std::map<std::string, StateEventIds> Reader::current_state(const Texts& room_ids) {
    std::map<std::string, StateEventIds> found;
    if (room_ids.empty()) {
        return found;
    }
    const Rows rows =
        ask(fmt::format("SELECT c.room_id, c.type, c.event_id FROM {} c WHERE c.room_id = ANY ({}) "
                        "AND c.type = ANY ({}) AND c.state_key = ''",
                        t("current_state_events"), sql_array(room_ids), relevant_types()));
    for (const auto& row : rows.values) {
        if (const auto kind = rules::state_kind(*row[1])) {
            found[*row[0]][static_cast<std::size_t>(*kind)] = *row[2];
        }
    }
    return found;
}

}  // namespace sliding_sync::cli::offline
