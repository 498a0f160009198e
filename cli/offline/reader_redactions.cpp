#include <deque>
#include <fmt/format.h>

#include "cli/offline/reader.hpp"
#include "rules/json.hpp"
#include "rules/redaction.hpp"

namespace sliding_sync::cli::offline {

namespace {

std::string value_or(std::string_view json, std::string_view key, const std::string& otherwise) {
    return rules::top_level_value(json, key).column().value_or(otherwise);
}

// The rules look at texts of others: rows and senders outlive them.
rules::RedactionEvent redaction_event(const Rows& rows, std::size_t row, std::deque<std::string>& texts) {
    const auto text = [&](std::string_view column) -> std::string_view {
        const Value& value = rows.at(row, column);
        return value ? std::string_view(*value) : std::string_view();
    };
    const Value& sender = rows.at(row, "sender");
    return {rows.at(row, "is_stored") == "t",
            rows.at(row, "is_rejected") == "t",
            rows.at(row, "same_room") == "t",
            sender ? std::string_view(*sender) : texts.emplace_back(value_or(text("json"), "sender", "")),
            text("json"),
            text("internal_metadata")};
}

std::string columns(const Reader& reader) {
    return fmt::format("(e.event_id IS NOT NULL AND j.event_id IS NOT NULL) AS is_stored, {} AS is_rejected, "
                       "(e.room_id = k.room_id) AS same_room, e.sender, j.json, j.internal_metadata",
                       reader.is_rejected());
}

}  // namespace

std::vector<bool> Reader::redacted(const std::vector<RedactionCandidate>& candidates) {
    std::vector<bool> result(candidates.size(), false);
    if (candidates.empty()) {
        return result;
    }
    Texts event_ids;
    Texts room_ids;
    Texts ban_rooms;
    Texts ban_users;
    for (const RedactionCandidate& candidate : candidates) {
        event_ids.push_back(candidate.event_id);
        room_ids.push_back(candidate.room_id);
        // a reader looks bans up by what the event itself says
        ban_rooms.push_back(value_or(candidate.json, "room_id", candidate.room_id));
        ban_users.push_back(value_or(candidate.json, "sender", candidate.sender.value_or("")));
    }
    std::deque<std::string> texts;
    std::vector<std::vector<rules::Redaction>> redactions(candidates.size());
    const Rows rows = ask(fmt::format(
        "SELECT k.n, {} AS recheck, {} FROM unnest({}, {}) WITH ORDINALITY k(event_id, room_id, n) JOIN {} x "
        "ON x.redacts = k.event_id LEFT JOIN {} e ON e.event_id = x.event_id LEFT JOIN {} j ON j.event_id = "
        "x.event_id",
        homeserver_.has_redaction_recheck ? "x.recheck" : "true", columns(*this), sql_array(event_ids),
        sql_array(room_ids), t("redactions"), t("events"), t("event_json")));
    for (std::size_t i = 0; i < rows.values.size(); ++i) {
        redactions[position(rows.at(i, "n"))].push_back(
            {rows.at(i, "recheck") == "t", redaction_event(rows, i, texts)});
    }
    std::vector<std::vector<rules::BanRedaction>> bans(candidates.size());
    Rows ban_rows;
    if (homeserver_.has_ban_redactions) {
        ban_rows = ask(fmt::format(
            "SELECT k.n, x.redact_end_ordering, {} FROM unnest({}, {}, {}) WITH ORDINALITY k(own_room_id, "
            "user_id, "
            "room_id, n) JOIN {} x ON x.room_id = k.own_room_id AND x.user_id = k.user_id LEFT JOIN {} e "
            "ON e.event_id = x.redacting_event_id LEFT JOIN {} j ON j.event_id = x.redacting_event_id",
            columns(*this), sql_array(ban_rooms), sql_array(ban_users), sql_array(room_ids),
            t("room_ban_redactions"), t("events"), t("event_json")));
    }
    for (std::size_t i = 0; i < ban_rows.values.size(); ++i) {
        bans[position(ban_rows.at(i, "n"))].push_back(
            {optional_number(ban_rows.at(i, "redact_end_ordering")), redaction_event(ban_rows, i, texts)});
    }
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        const std::string sender =
            candidates[i].sender ? *candidates[i].sender : value_or(candidates[i].json, "sender", "");
        result[i] = rules::is_redacted({sender, candidates[i].stream_ordering}, redactions[i], bans[i]);
    }
    return result;
}

}  // namespace sliding_sync::cli::offline
