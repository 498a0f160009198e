#include "cli/offline/derived_rows.hpp"

namespace sliding_sync::cli::offline {

namespace {

std::optional<std::string_view> view(const Value& value) {
    return value ? std::optional<std::string_view>(*value) : std::nullopt;
}

rules::MembershipFacts facts_of(const Rows& rows, std::size_t row, const MembershipKey& key) {
    const auto at = [&](std::string_view column) -> const Value& { return rows.at(row, column); };
    rules::MembershipFacts facts;
    facts.room_id = key.room_id;
    facts.user_id = key.user_id;
    facts.in_rooms = at("in_rooms") == "t";
    facts.event_id = at("event_id").value_or("");
    facts.membership = at("membership").value_or("");
    if (at("has_membership") == "t") {
        facts.room_memberships_sender = at("membership_sender");
        facts.forgotten = static_cast<std::int32_t>(optional_number(at("forgotten")).value_or(0));
    }
    if (at("has_event") == "t") {
        facts.event_stored =
            rules::is_its_event(facts, at("event_room").value_or(""), at("type").value_or(""),
                                view(at("state_key")), view(at("membership_user")));
        facts.stream_ordering = optional_number(at("stream_ordering"));
        facts.sender = at("sender");
        facts.instance_name = at("instance_name");
        facts.outlier = at("outlier") == "t";
    }
    facts.in_current_state = at("in_current_state") == "t";
    return facts;
}

constexpr const char* membership_rows =
    "ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH ORDINALITY k(room_id, user_id, n) ";

// What the extension looks up one by one.
const std::string facts_text =
    std::string("SELECT k.n, EXISTS (SELECT FROM %S.rooms r WHERE r.room_id %= k.room_id) AS in_rooms, "
                "l.event_id, l.membership, rm.event_id IS NOT NULL AS has_membership, "
                "rm.user_id AS membership_user, rm.sender AS membership_sender, rm.forgotten, "
                "e.event_id IS NOT NULL AS has_event, e.room_id AS event_room, e.type, e.state_key, "
                "e.stream_ordering, e.sender, e.instance_name, e.outlier, "
                "EXISTS (SELECT FROM %S.current_state_events c WHERE c.room_id %= k.room_id "
                "AND c.type %= 'm.room.member' AND c.state_key %= k.user_id AND c.event_id %= l.event_id) "
                "AS in_current_state FROM ") +
    membership_rows +
    "LEFT JOIN %S.local_current_membership l ON l.room_id %= k.room_id AND l.user_id %= k.user_id "
    "LEFT JOIN %S.room_memberships rm ON rm.event_id %= l.event_id "
    "LEFT JOIN %S.events e ON e.event_id %= l.event_id";

}  // namespace

std::map<MembershipKey, rules::MembershipSnapshot> Reader::stored_snapshots(const MembershipKeys& keys) {
    std::map<MembershipKey, rules::MembershipSnapshot> found;
    if (keys.empty()) {
        return found;
    }
    const Rows rows = ask("SELECT " + column_list<MembershipSnapshotColumns>("m") + " FROM " +
                              membership_rows + "JOIN %S." + MembershipSnapshotColumns::name +
                              " m ON m.room_id %= k.room_id AND m.user_id %= k.user_id",
                          columns_of(keys));
    for (const auto& values : rows.values) {
        rules::MembershipSnapshot row = derived_row<MembershipSnapshotColumns>(values);
        MembershipKey key{row.room_id, row.user_id};
        found.emplace(std::move(key), std::move(row));
    }
    return found;
}

std::vector<rules::MembershipFacts> Reader::membership_facts(const MembershipKeys& keys) {
    std::vector<rules::MembershipFacts> facts(keys.size());
    const Rows rows = ask(facts_text, columns_of(keys));
    for (std::size_t i = 0; i < rows.values.size(); ++i) {
        const std::size_t place = position(rows.at(i, "n"));
        facts[place] = facts_of(rows, i, keys[place]);
    }
    read_details(facts);
    read_been_in_state(facts);
    return facts;
}

void Reader::read_details(std::vector<rules::MembershipFacts>& all) {
    std::multimap<std::string, rules::MembershipFacts*> asked;
    std::set<std::string> ids;
    for (rules::MembershipFacts& facts : all) {
        if (rules::tells_more(facts)) {
            asked.emplace(facts.event_id, &facts);
            ids.insert(facts.event_id);
        }
    }
    if (ids.empty()) {
        return;
    }
    const Rows rows = ask("SELECT e.event_id, j.json, j.internal_metadata, " + may_be_redacted(tables()) +
                              " AS may_be_redacted FROM pg_catalog.unnest($1) k(event_id) "
                              "JOIN %S.events e ON e.event_id %= k.event_id "
                              "LEFT JOIN %S.event_json j ON j.event_id %= e.event_id",
                          {Texts(ids.begin(), ids.end())});
    std::vector<RedactionCandidate> candidates;
    std::vector<rules::MembershipFacts*> to_check;
    for (std::size_t i = 0; i < rows.values.size(); ++i) {
        const auto [begin, end] = asked.equal_range(*rows.at(i, "event_id"));
        for (auto place = begin; place != end; ++place) {
            rules::MembershipFacts& facts = *place->second;
            facts.json = rows.at(i, "json").value_or("");
            facts.internal_metadata = rows.at(i, "internal_metadata").value_or("");
            if (rows.at(i, "may_be_redacted") == "t") {
                candidates.push_back(
                    {facts.event_id, facts.room_id, facts.sender, facts.json, facts.stream_ordering});
                to_check.push_back(&facts);
            }
        }
    }
    const std::vector<bool> are_redacted = redacted(candidates);
    for (std::size_t i = 0; i < to_check.size(); ++i) {
        to_check[i]->redacted = are_redacted[i];
    }
}

void Reader::read_been_in_state(std::vector<rules::MembershipFacts>& all) {
    Texts ids;
    for (const rules::MembershipFacts& facts : all) {
        if (rules::may_be_from_outside(facts)) {
            ids.push_back(facts.event_id);
        }
    }
    if (ids.empty()) {
        return;
    }
    std::set<std::string> found;
    for (const auto& row : ask(been_in_state_text(tables()), {ids}).values) {
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
    Parameters columns = columns_of(keys);
    columns.emplace_back(but_not);
    const Rows rows = ask(earlier_invites_text(), columns);
    std::vector<RedactionCandidate> candidates;
    for (const auto& row : rows.values) {
        namespace column = earlier_invite_column;
        EarlierInvite& invite = invites[position(row[column::position])];
        invite.membership = row[column::membership].value_or("");
        invite.json = row[column::json].value_or("");
        candidates.push_back({*row[column::event_id], *row[column::room_id], row[column::sender], invite.json,
                              optional_number(row[column::stream_ordering])});
    }
    const std::vector<bool> are_redacted = redacted(candidates);
    for (std::size_t i = 0; i < rows.values.size(); ++i) {
        invites[position(rows.values[i][earlier_invite_column::position])].redacted = are_redacted[i];
    }
    return invites;
}

}  // namespace sliding_sync::cli::offline
