#include "derive/redaction_verdicts.hpp"

#include "rules/redaction.hpp"

extern "C" {
#include "catalog/pg_type.h"
}

namespace sliding_sync {

RedactionVerdicts::RedactionVerdicts(const HomeserverSchema& s)
    : has_ban_redactions_(s.has_ban_redactions),
      redactions_(sql_text("SELECT k.n, " + std::string(s.has_redaction_recheck ? "x.recheck" : "true") +
                               ", (e.event_id IS NOT NULL AND j.event_id IS NOT NULL), " +
                               is_rejected(s, "e") +
                               ", (e.room_id %= k.room_id), e.sender, j.json, j.internal_metadata "
                               "FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH "
                               "ORDINALITY k(event_id, room_id, n) "
                               "JOIN %S.redactions x ON x.redacts %= k.event_id "
                               "LEFT JOIN %S.events e ON e.event_id %= x.event_id "
                               "LEFT JOIN %S.event_json j ON j.event_id %= x.event_id",
                           s.name),
                  {TEXTARRAYOID, TEXTARRAYOID}),
      ban_redactions_(
          sql_text(
              "SELECT k.n, x.redact_end_ordering, (e.event_id IS NOT NULL AND j.event_id IS NOT NULL), " +
                  is_rejected(s, "e") +
                  ", (e.room_id %= k.room_id), e.sender, j.json, j.internal_metadata "
                  "FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH ORDINALITY k(room_id, "
                  "user_id, n) "
                  "JOIN %S.room_ban_redactions x ON x.room_id %= k.room_id AND x.user_id %= k.user_id "
                  "LEFT JOIN %S.events e ON e.event_id %= x.redacting_event_id "
                  "LEFT JOIN %S.event_json j ON j.event_id %= x.redacting_event_id",
              s.name),
          {TEXTARRAYOID, TEXTARRAYOID}) {}

std::vector<bool> RedactionVerdicts::of(std::span<const RedactionCandidate> candidates) {
    std::vector<bool> result(candidates.size(), false);
    if (candidates.empty()) {
        return result;
    }
    std::vector<std::string_view> event_ids;
    std::vector<std::string_view> room_ids;
    std::vector<std::string_view> senders;
    for (const RedactionCandidate& candidate : candidates) {
        event_ids.push_back(candidate.event_id);
        room_ids.push_back(candidate.room_id);
        senders.push_back(candidate.sender);
    }
    // columns 2.. are the same in both statements: stored, rejected, same room, sender, json, internal_metadata
    const auto redaction_event = [](std::span<const Cell> row) {
        return rules::RedactionEvent{row[2].boolean(), row[3].boolean(), row[4].boolean(),
                                     row[5].text(),    row[6].text(),    row[7].text()};
    };
    std::vector<std::vector<rules::Redaction>> redactions(candidates.size());
    const Rows rows = redactions_.run(Arguments().texts(event_ids).texts(room_ids));
    for (std::size_t i = 0; i < rows.count; ++i) {
        redactions[position(rows[i][0])].push_back({rows[i][1].boolean(), redaction_event(rows[i])});
    }
    std::vector<std::vector<rules::BanRedaction>> bans(candidates.size());
    if (has_ban_redactions_) {
        const Rows ban_rows = ban_redactions_.run(Arguments().texts(room_ids).texts(senders));
        for (std::size_t i = 0; i < ban_rows.count; ++i) {
            bans[position(ban_rows[i][0])].push_back(
                {ban_rows[i][1].optional_number(), redaction_event(ban_rows[i])});
        }
    }
    for (std::size_t i = 0; i < candidates.size(); ++i) {
        result[i] =
            rules::is_redacted({candidates[i].sender, candidates[i].stream_ordering}, redactions[i], bans[i]);
    }
    return result;
}

}  // namespace sliding_sync
