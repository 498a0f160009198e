#include <deque>

#include "cli/offline/reader.hpp"
#include "rules/json.hpp"
#include "rules/redaction.hpp"

namespace sliding_sync::cli::offline {

namespace {

std::string value_or(std::string_view json, std::string_view key, const std::string& otherwise) {
    return rules::top_level_value(json, key).column().value_or(otherwise);
}

std::string_view view(const Value& value) {
    return value ? std::string_view(*value) : std::string_view();
}

// The rules look at texts of others: rows and senders outlive them.
rules::RedactionEvent redaction_event(const std::vector<Value>& row, std::deque<std::string>& texts) {
    namespace column = redaction_column;
    const std::string_view json = view(row[column::json]);
    return {row[column::is_stored] == "t",
            row[column::is_rejected] == "t",
            row[column::is_of_same_room] == "t",
            row[column::sender] ? view(row[column::sender])
                                : texts.emplace_back(value_or(json, "sender", "")),
            json,
            view(row[column::internal_metadata])};
}

std::vector<rules::RedactionTarget> targets_of(const std::vector<RedactionCandidate>& candidates,
                                               std::deque<std::string>& texts) {
    std::vector<rules::RedactionTarget> targets;
    for (const RedactionCandidate& candidate : candidates) {
        targets.push_back({candidate.sender ? std::string_view(*candidate.sender)
                                            : texts.emplace_back(value_or(candidate.json, "sender", "")),
                           candidate.stream_ordering});
    }
    return targets;
}

// By event: the places of redactions that apply if its JSON can be read.
using Unread = std::map<std::string, std::vector<std::pair<std::size_t, std::size_t>>>;

void read_json(Reader& reader, const Unread& unread, std::vector<std::vector<rules::Redaction>>& redactions,
               std::deque<std::string>& texts) {
    if (unread.empty()) {
        return;
    }
    Texts event_ids;
    for (const auto& [event_id, places] : unread) {
        event_ids.push_back(event_id);
    }
    const Rows rows = reader.ask("SELECT j.event_id, j.json FROM pg_catalog.unnest($1) k(event_id) "
                                 "JOIN %S.event_json j ON j.event_id %= k.event_id",
                                 {event_ids});
    for (const auto& row : rows.values) {
        const std::string& json = texts.emplace_back(row[1].value_or(""));
        for (const auto& [place, number] : unread.at(*row[0])) {
            redactions[place][number].event.json = json;
        }
    }
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
        // a reader looks bans up by what the event itself says (H91)
        ban_rooms.push_back(value_or(candidate.json, "room_id", candidate.room_id));
        ban_users.push_back(value_or(candidate.json, "sender", candidate.sender.value_or("")));
    }
    std::deque<std::string> texts;
    const auto targets = targets_of(candidates, texts);
    const Rows rows = ask(redactions_text(tables()), {event_ids, room_ids});
    std::vector<std::vector<rules::Redaction>> redactions(candidates.size());
    Unread unread;
    for (const auto& row : rows.values) {
        const std::size_t place = position(row[redaction_column::position]);
        const rules::Redaction redaction{row[redaction_column::recheck] == "t", redaction_event(row, texts)};
        if (redaction.recheck && !rules::may_apply(targets[place], redaction.event)) {
            continue;
        }
        if (redaction.recheck) {
            unread[*row[redaction_column::event_id]].emplace_back(place, redactions[place].size());
        }
        redactions[place].push_back(redaction);
    }
    read_json(*this, unread, redactions, texts);
    std::vector<std::vector<rules::BanRedaction>> bans(candidates.size());
    const Rows ban_rows = tables().has_ban_redactions
                              ? ask(ban_redactions_text(tables()), {ban_rooms, ban_users, room_ids})
                              : Rows{};
    for (const auto& row : ban_rows.values) {
        bans[position(row[redaction_column::position])].push_back(
            {optional_number(row[redaction_column::redact_end_ordering]), redaction_event(row, texts)});
    }
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        result[i] = rules::is_redacted(targets[i], redactions[i], bans[i]);
    }
    return result;
}

}  // namespace sliding_sync::cli::offline
