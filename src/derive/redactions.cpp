#include "derive/redactions.hpp"

#include "rules/json.hpp"

extern "C" {
#include "catalog/pg_type.h"
}

namespace sliding_sync {

namespace {

constexpr std::size_t few_redactions = 20;

std::string value_or(std::string_view json, std::string_view key, std::string_view otherwise) {
    return rules::top_level_value(json, key).column().value_or(std::string(otherwise));
}

// The sender, or what the JSON says that it is.
std::string_view sender_of(const Cell& sender, const Cell& json, std::deque<std::string>& senders) {
    return sender.is_null ? std::string_view(senders.emplace_back(value_or(json.text(), "sender", "")))
                          : sender.text();
}

rules::RedactionEvent redaction_event(std::span<const Cell> row, std::deque<std::string>& senders) {
    namespace column = redaction_column;
    return {row[column::is_stored].boolean(),
            row[column::is_rejected].boolean(),
            row[column::is_of_same_room].boolean(),
            sender_of(row[column::sender], row[column::json], senders),
            row[column::json].text(),
            row[column::internal_metadata].text()};
}

std::string_view sender_of(const RedactionCandidate& candidate, std::deque<std::string>& senders) {
    return candidate.sender ? *candidate.sender
                            : std::string_view(senders.emplace_back(value_or(candidate.json, "sender", "")));
}

namespace redacted_state_column {
enum Column : std::size_t {
    target_sender = redaction_column::internal_metadata + 1,
    target_json,  ///< where that must tell the sender
    target_stream_ordering
};
}

std::string redacted_state_sql(const HomeserverSchema& s) {
    return "SELECT k.n, " + std::string(s.has_redaction_recheck ? "x.recheck" : "true") + R"(,
            (e.event_id IS NOT NULL AND j.event_id IS NOT NULL), )" +
           is_rejected(s, "e") + R"(, (e.room_id %= t.room_id), e.sender, j.json, j.internal_metadata,
            t.sender, CASE WHEN t.sender IS NULL THEN tj.json END, t.stream_ordering
        FROM pg_catalog.unnest($1) WITH ORDINALITY k(event_id, n)
        JOIN %S.redactions x ON x.event_id %= k.event_id
        JOIN %S.events t ON t.event_id %= x.redacts AND t.type %= ANY ()" +
           relevant_types_array() + R"()
        LEFT JOIN %S.event_json tj ON tj.event_id %= t.event_id
        LEFT JOIN %S.events e ON e.event_id %= x.event_id
        LEFT JOIN %S.event_json j ON j.event_id %= x.event_id)";
}

}  // namespace

Redactions::Redactions(const HomeserverSchema& s)
    : has_ban_redactions_(s.has_ban_redactions),
      redactions_of_event_("redactions_of_event", s, table_name(BaseTable::redactions),
                           {{"redacts", TEXTOID}}, {}),
      bans_of_room_("bans_of_room", s, table_name(BaseTable::room_ban_redactions), {{"room_id", TEXTOID}},
                    {}),
      json_("redaction_json", s, table_name(BaseTable::event_json), {{"event_id", TEXTOID}}, {"json"}),
      redactions_("redactions", sql_text(redactions_text(s), s.name), {TEXTARRAYOID, TEXTARRAYOID}),
      ban_redactions_("ban_redactions", sql_text(ban_redactions_text(s), s.name),
                      {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID}),
      redacted_state_("redacted_state", sql_text(redacted_state_sql(s), s.name), {TEXTARRAYOID}) {}

// Those that may redact: of each event no more than the first that does.
std::vector<std::vector<rules::Redaction>>
Redactions::redactions_of(std::span<const RedactionCandidate> candidates, std::deque<std::string>& senders,
                          SnapshotKind view) {
    std::vector<std::string_view> event_ids;
    std::vector<std::string_view> room_ids;
    for (const RedactionCandidate& candidate : candidates) {
        event_ids.push_back(candidate.event_id);
        room_ids.push_back(candidate.room_id);
    }
    std::vector<std::vector<rules::Redaction>> result(candidates.size());
    std::vector<bool> is_redacted(candidates.size(), false);
    const Rows rows = redactions_.run(Arguments().texts(event_ids).texts(room_ids), view);
    LookupScope scope(view);
    for (std::size_t i = 0; i < rows.count; ++i) {
        const auto row = rows[i];
        const std::size_t place = position(row[redaction_column::position]);
        rules::Redaction redaction{row[redaction_column::recheck].boolean(), redaction_event(row, senders)};
        const rules::RedactionTarget target{sender_of(candidates[place], senders),
                                            candidates[place].stream_ordering};
        if (is_redacted[place] || (redaction.recheck && !rules::may_apply(target, redaction.event))) {
            continue;
        }
        const Rows json =
            redaction.recheck ? json_.find(scope, {row[redaction_column::event_id].text()}) : Rows{};
        if (json.count > 0) {
            redaction.event.json = json[0][0].text();
        }
        is_redacted[place] = rules::is_redacted(target, {&redaction, 1}, {});
        if (is_redacted[place]) {
            result[place].push_back(redaction);
        }
    }
    return result;
}

std::vector<bool> Redactions::of(std::span<const RedactionCandidate> candidates, SnapshotKind view) {
    std::vector<bool> result(candidates.size(), false);
    if (candidates.empty()) {
        return result;
    }
    std::deque<std::string> senders;  // those that only the JSON tells
    const auto redactions = redactions_of(candidates, senders, view);
    std::vector<std::string_view> room_ids;
    for (const RedactionCandidate& candidate : candidates) {
        room_ids.push_back(candidate.room_id);
    }
    std::vector<std::vector<rules::BanRedaction>> bans(candidates.size());
    if (has_ban_redactions_) {
        // A reader looks bans up by what the event itself says (H91).
        std::vector<std::string> own_room_ids;
        std::vector<std::string> own_senders;
        for (const RedactionCandidate& candidate : candidates) {
            own_room_ids.push_back(value_or(candidate.json, "room_id", candidate.room_id));
            own_senders.push_back(value_or(candidate.json, "sender", candidate.sender.value_or("")));
        }
        const std::vector<std::string_view> ban_rooms(own_room_ids.begin(), own_room_ids.end());
        const std::vector<std::string_view> ban_users(own_senders.begin(), own_senders.end());
        const Rows ban_rows =
            ban_redactions_.run(Arguments().texts(ban_rooms).texts(ban_users).texts(room_ids), view);
        for (std::size_t i = 0; i < ban_rows.count; ++i) {
            const auto row = ban_rows[i];
            bans[position(row[redaction_column::position])].push_back(
                {row[redaction_column::redact_end_ordering].optional_number(),
                 redaction_event(row, senders)});
        }
    }
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        result[i] = rules::is_redacted({sender_of(candidates[i], senders), candidates[i].stream_ordering},
                                       redactions[i], bans[i]);
    }
    return result;
}

std::vector<bool> Redactions::redact_state(std::span<const std::span<const std::string_view>> redaction_ids) {
    std::vector<bool> result(redaction_ids.size(), false);
    std::vector<std::string_view> event_ids;
    std::vector<std::size_t> positions;
    for (std::size_t i = 0; i < redaction_ids.size(); ++i) {
        event_ids.insert(event_ids.end(), redaction_ids[i].begin(), redaction_ids[i].end());
        positions.resize(event_ids.size(), i);
    }
    if (event_ids.empty()) {
        return result;
    }
    std::deque<std::string> senders;
    const Rows rows = redacted_state_.run(Arguments().texts(event_ids));
    for (std::size_t i = 0; i < rows.count; ++i) {
        const auto row = rows[i];
        namespace target_column = redacted_state_column;
        const rules::Redaction redaction{row[redaction_column::recheck].boolean(),
                                         redaction_event(row, senders)};
        const rules::RedactionTarget target{
            sender_of(row[target_column::target_sender], row[target_column::target_json], senders),
            row[target_column::target_stream_ordering].optional_number()};
        if (rules::is_redacted(target, {&redaction, 1}, {})) {
            result[positions[position(row[redaction_column::position])]] = true;
        }
    }
    return result;
}

bool Redactions::has_bans(LookupScope& scope, std::string_view room_id) {
    return has_ban_redactions_ && bans_of_room_.find(scope, {room_id}, 1).count > 0;
}

bool Redactions::may_have_bans(LookupScope& scope, std::string_view room_id) {
    if (!has_ban_redactions_) {
        return false;
    }
    const auto found = bans_of_room_.find_by_index(scope, {room_id});
    return !found || found->count > 0;
}

RedactionCheck RedactionFilter::needed_check(std::string_view event_id, std::string_view room_id) {
    const std::size_t redactions =
        redactions_.redactions_of_event_.find(scope_, {event_id}, few_redactions + 1).count;
    if (redactions > 0) {
        return redactions > few_redactions ? RedactionCheck::many : RedactionCheck::some;
    }
    const auto [place, is_new] = has_bans_.try_emplace(room_id, false);
    if (is_new) {
        place->second = redactions_.has_bans(scope_, room_id);
    }
    return place->second ? RedactionCheck::some : RedactionCheck::none;
}

}  // namespace sliding_sync
