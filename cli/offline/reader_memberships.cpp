#include <fmt/format.h>

#include "cli/offline/reader.hpp"
#include "cli/sql.hpp"

namespace sliding_sync::cli::offline {

namespace {

rules::MembershipFacts facts_of(const Rows& rows, std::size_t row) {
    const auto at = [&](std::string_view column) -> const Value& { return rows.at(row, column); };
    rules::MembershipFacts facts;
    facts.room_id = *at("room_id");
    facts.user_id = *at("user_id");
    facts.in_rooms = at("in_rooms") == "t";
    facts.event_id = at("event_id").value_or("");
    facts.membership = at("membership").value_or("");
    if (at("has_membership") == "t") {
        facts.room_memberships_sender = at("membership_sender");
        facts.forgotten = static_cast<std::int32_t>(optional_number(at("forgotten")).value_or(0));
    }
    if (at("has_event") == "t") {
        const std::string state_key = at("state_key").value_or(at("membership_user").value_or(facts.user_id));
        // an event of another room, type or user is none of this membership
        facts.event_stored =
            at("event_room") == facts.room_id && at("type") == "m.room.member" && state_key == facts.user_id;
        facts.stream_ordering = optional_number(at("stream_ordering"));
        facts.sender = at("sender");
        facts.instance_name = at("instance_name");
        facts.outlier = at("outlier") == "t";
    }
    facts.in_current_state = at("in_current_state") == "t";
    return facts;
}

}  // namespace

std::map<MembershipKey, rules::MembershipSnapshot> Reader::stored_snapshots(const MembershipKeys& keys) {
    std::map<MembershipKey, rules::MembershipSnapshot> found;
    if (keys.empty()) {
        return found;
    }
    const Rows rows = ask(fmt::format(
        "SELECT m.room_id, m.user_id, m.sender, m.membership_event_id, m.membership, m.forgotten, "
        "m.event_stream_ordering, m.event_instance_name, m.has_known_state, m.room_type, m.room_name, "
        "m.is_encrypted, m.tombstone_successor_room_id FROM {} JOIN {} m ON m.room_id = k.room_id "
        "AND m.user_id = k.user_id",
        membership_rows(keys), t("sliding_sync_membership_snapshots")));
    for (std::size_t i = 0; i < rows.values.size(); ++i) {
        const auto text = [&](std::string_view column) { return rows.at(i, column).value_or(""); };
        rules::MembershipSnapshot row;
        row.room_id = text("room_id");
        row.user_id = text("user_id");
        row.sender = text("sender");
        row.membership_event_id = text("membership_event_id");
        row.membership = text("membership");
        row.forgotten = static_cast<std::int32_t>(optional_number(rows.at(i, "forgotten")).value_or(0));
        row.event_stream_ordering = *optional_number(rows.at(i, "event_stream_ordering"));
        row.event_instance_name = text("event_instance_name");
        row.has_known_state = text("has_known_state") == "t";
        row.state = room_state(rows, i);
        found.emplace(MembershipKey{row.room_id, row.user_id}, std::move(row));
    }
    return found;
}

std::vector<rules::MembershipFacts> Reader::membership_facts(const MembershipKeys& keys) {
    std::vector<rules::MembershipFacts> facts(keys.size());
    const Rows rows = ask(fmt::format(
        "SELECT k.n, k.room_id, k.user_id, EXISTS (SELECT FROM {} r WHERE r.room_id = k.room_id) AS "
        "in_rooms, "
        "l.event_id, l.membership, rm.event_id IS NOT NULL AS has_membership, rm.user_id AS membership_user, "
        "rm.sender AS membership_sender, rm.forgotten, e.event_id IS NOT NULL AS has_event, e.room_id AS "
        "event_room, "
        "e.type, e.state_key, e.stream_ordering, e.sender, e.instance_name, e.outlier, EXISTS (SELECT FROM "
        "{} c "
        "WHERE c.room_id = k.room_id AND c.type = 'm.room.member' AND c.state_key = k.user_id "
        "AND c.event_id = l.event_id) AS in_current_state FROM {} "
        "LEFT JOIN {} l ON l.room_id = k.room_id AND l.user_id = k.user_id "
        "LEFT JOIN {} rm ON rm.event_id = l.event_id LEFT JOIN {} e ON e.event_id = l.event_id",
        t("rooms"), t("current_state_events"), membership_rows(keys), t("local_current_membership"),
        t("room_memberships"), t("events")));
    for (std::size_t i = 0; i < rows.values.size(); ++i) {
        facts[position(rows.at(i, "n"))] = facts_of(rows, i);
    }
    read_details(facts);
    read_been_in_state(facts);
    return facts;
}

// The event itself is read where it tells more than that somebody is in a room or has left it.
void Reader::read_details(std::vector<rules::MembershipFacts>& all) {
    std::map<std::string, rules::MembershipFacts*> asked;
    Texts ids;
    for (rules::MembershipFacts& facts : all) {
        const bool is_plain = facts.in_current_state && !facts.outlier && facts.sender &&
                              facts.membership != "invite" && facts.membership != "knock";
        if (facts.event_stored && !is_plain) {
            asked[facts.event_id] = &facts;
            ids.push_back(facts.event_id);
        }
    }
    if (ids.empty()) {
        return;
    }
    const Rows rows =
        ask(fmt::format("SELECT e.event_id, j.json, j.internal_metadata, {} AS may_be_redacted FROM "
                        "unnest({}) k(event_id) JOIN {} e ON e.event_id = k.event_id LEFT JOIN {} j "
                        "ON j.event_id = e.event_id",
                        may_be_redacted(), sql_array(ids), t("events"), t("event_json")));
    std::vector<RedactionCandidate> candidates;
    std::vector<rules::MembershipFacts*> doubtful;
    for (std::size_t i = 0; i < rows.values.size(); ++i) {
        rules::MembershipFacts& facts = *asked.at(*rows.at(i, "event_id"));
        facts.json = rows.at(i, "json").value_or("");
        facts.internal_metadata = rows.at(i, "internal_metadata").value_or("");
        if (rows.at(i, "may_be_redacted") == "t") {
            candidates.push_back(
                {facts.event_id, facts.room_id, facts.sender, facts.json, facts.stream_ordering});
            doubtful.push_back(&facts);
        }
    }
    const std::vector<bool> verdicts = redacted(candidates);
    for (std::size_t i = 0; i < doubtful.size(); ++i) {
        doubtful[i]->redacted = verdicts[i];
    }
}

void Reader::read_been_in_state(std::vector<rules::MembershipFacts>& all) {
    Texts ids;
    for (const rules::MembershipFacts& facts : all) {
        if (facts.outlier && !facts.in_current_state &&
            (facts.membership == "invite" || facts.membership == "knock")) {
            ids.push_back(facts.event_id);
        }
    }
    if (ids.empty()) {
        return;
    }
    const std::string where =
        homeserver_.has_state_changes
            ? fmt::format("{} d WHERE d.room_id = e.room_id AND d.stream_id >= e.stream_ordering "
                          "AND d.event_id = e.event_id",
                          t("current_state_delta_stream"))
            : fmt::format("{} o WHERE o.room_id = e.room_id AND NOT o.outlier", t("events"));
    const Rows rows =
        ask(fmt::format("SELECT e.event_id FROM {} e WHERE e.event_id = ANY ({}) AND (SELECT 1 FROM {} "
                        "LIMIT 1) IS NOT NULL",
                        t("events"), sql_array(ids), where));
    std::set<std::string> found;
    for (const auto& row : rows.values) {
        found.insert(*row[0]);
    }
    for (rules::MembershipFacts& facts : all) {
        facts.may_have_been_in_state = found.count(facts.event_id) > 0;
    }
}

std::vector<EarlierInvite> Reader::earlier_invites(const MembershipKeys& keys, const Texts& but_not) {
    std::vector<EarlierInvite> invites(keys.size());
    if (keys.empty()) {
        return invites;
    }
    const Rows rows = ask(fmt::format(
        "SELECT k.n, x.event_id, x.room_id, x.sender, x.stream_ordering, x.membership, x.json FROM (SELECT "
        "k.*, o.id "
        "FROM {} JOIN unnest({}) WITH ORDINALITY o(id, n) USING (n)) k CROSS JOIN LATERAL (SELECT "
        "e.event_id, "
        "e.room_id, e.sender, e.stream_ordering, rm.membership, j.json FROM {} rm JOIN {} e ON e.event_id = "
        "rm.event_id LEFT JOIN {} j ON j.event_id = rm.event_id WHERE rm.room_id = k.room_id "
        "AND rm.user_id = k.user_id AND rm.event_id <> k.id AND rm.membership IN ('invite', 'knock') "
        "ORDER BY e.topological_ordering DESC, e.stream_ordering DESC LIMIT 1) x",
        membership_rows(keys), sql_array(but_not), t("room_memberships"), t("events"), t("event_json")));
    std::vector<RedactionCandidate> candidates;
    std::vector<std::size_t> positions;
    for (std::size_t i = 0; i < rows.values.size(); ++i) {
        positions.push_back(position(rows.at(i, "n")));
        EarlierInvite& invite = invites[positions.back()];
        invite.membership = *rows.at(i, "membership");
        invite.json = rows.at(i, "json").value_or("");
        candidates.push_back({*rows.at(i, "event_id"), *rows.at(i, "room_id"), rows.at(i, "sender"),
                              invite.json, optional_number(rows.at(i, "stream_ordering"))});
    }
    const std::vector<bool> verdicts = redacted(candidates);
    for (std::size_t i = 0; i < positions.size(); ++i) {
        invites[positions[i]].redacted = verdicts[i];
    }
    return invites;
}

}  // namespace sliding_sync::cli::offline
