#include "derive/membership_facts.hpp"

#include "server/transaction.hpp"

extern "C" {
#include "catalog/pg_type.h"
}

namespace sliding_sync {

namespace {

constexpr std::string_view snapshot_columns =
    "m.sender, m.membership_event_id, m.membership, m.forgotten, m.event_stream_ordering, "
    "m.event_instance_name, "
    "m.has_known_state, m.room_type, m.room_name, m.is_encrypted, m.tombstone_successor_room_id";

// Reads snapshot_columns from `cells`, starting at its first column.
std::optional<rules::MembershipSnapshot> read_snapshot(const MembershipKey& key,
                                                       std::span<const Cell> cells) {
    if (cells[0].is_null) {
        return std::nullopt;
    }
    rules::MembershipSnapshot row;
    row.room_id = key.room_id;
    row.user_id = key.user_id;
    row.sender = cells[0].text();
    row.membership_event_id = cells[1].text();
    row.membership = cells[2].text();
    row.forgotten = cells[3].number != 0;
    row.event_stream_ordering = cells[4].number;
    row.event_instance_name = cells[5].text();
    row.has_known_state = cells[6].boolean();
    row.state = {cells[7].optional_text(), cells[8].optional_text(), cells[9].boolean(),
                 cells[10].optional_text()};
    return row;
}

// OFFSET 0: rows are locked as they come, so they must come in the order of the keys.
constexpr std::string_view keys_without_snapshot =
    "(SELECT k.room_id, k.user_id FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) "
    "k(room_id, user_id) WHERE NOT EXISTS (SELECT FROM %S.sliding_sync_membership_snapshots m "
    "WHERE m.room_id %= k.room_id AND m.user_id %= k.user_id) OFFSET 0) k";

// Whether the event `e` ever was in current state, or, where nobody keeps that, whether the homeserver ever was in the
// room.
std::string may_have_been_in_state(const HomeserverSchema& s) {
    return s.has_state_changes ? "%S.current_state_delta_stream d WHERE d.room_id %= e.room_id "
                                 "AND d.stream_id %>= e.stream_ordering AND d.event_id %= e.event_id"
                               : "%S.events o WHERE o.room_id %= e.room_id AND NOT o.outlier";
}

// The member type is a parameter, and not part of the text, lest the plan take the index on members of a room, which
// is only good for small rooms, instead of the unique one on (room_id, type, state_key).
Arguments key_arguments(const MembershipKeyColumns& columns) {
    Arguments arguments(columns.room_ids.size());
    arguments.texts(columns.room_ids).texts(columns.user_ids).text("m.room.member");
    return arguments;
}

}  // namespace

MembershipFacts::MembershipFacts(const HomeserverSchema& s, RedactionVerdicts& redacted)
    : redacted_(redacted), lock_("lock_memberships",
                                 sql_text("SELECT m.room_id FROM ROWS FROM (pg_catalog.unnest($1), "
                                          "pg_catalog.unnest($2)) k(room_id, user_id) "
                                          "JOIN %S.sliding_sync_membership_snapshots m ON m.room_id %= "
                                          "k.room_id AND m.user_id %= k.user_id "
                                          "ORDER BY m.room_id, m.user_id FOR NO KEY UPDATE OF m",
                                          s.name),
                                 {TEXTARRAYOID, TEXTARRAYOID}, Indexes::of_membership_keys),
      has_snapshots_(s.membership_snapshots == TableShape::known),
      lock_memberships_("lock_local_memberships",
                        sql_text("SELECT FROM " + std::string(keys_without_snapshot) +
                                     " JOIN %S.local_current_membership l ON l.room_id %= k.room_id "
                                     "AND l.user_id %= k.user_id FOR SHARE OF l",
                                 s.name),
                        {TEXTARRAYOID, TEXTARRAYOID}, Indexes::of_membership_keys),
      lock_forgotten_("lock_room_memberships",
                      sql_text("SELECT FROM " + std::string(keys_without_snapshot) +
                                   " JOIN %S.local_current_membership l ON l.room_id %= k.room_id "
                                   "AND l.user_id %= k.user_id JOIN %S.room_memberships rm "
                                   "ON rm.event_id %= l.event_id WHERE l.membership %<> ALL "
                                   "(ARRAY['join','invite','knock']) FOR SHARE OF rm",
                               s.name),
                      {TEXTARRAYOID, TEXTARRAYOID}, Indexes::of_membership_keys),
      exist_("snapshots_exist",
             sql_text("SELECT EXISTS (SELECT FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) "
                      "k(room_id, user_id) JOIN %S.sliding_sync_membership_snapshots m "
                      "ON m.room_id %= k.room_id AND m.user_id %= k.user_id)",
                      s.name),
             {TEXTARRAYOID, TEXTARRAYOID}, Indexes::of_membership_keys),
      event_reference_("event_of_snapshot",
                       sql_text("SELECT EXISTS (SELECT FROM %S.sliding_sync_membership_snapshots m "
                                "WHERE m.membership_event_id %= $1)",
                                s.name),
                       {TEXTOID}),
      memberships_(
          "memberships",

          "SELECT k.n, r.room_id IS NOT NULL, l.event_id, l.membership, "
          // an event of another room, type or user is none of this membership (H52)
          "(e.room_id %= k.room_id AND e.type %= 'm.room.member' "
          "AND COALESCE(e.state_key, rm.user_id, k.user_id) %= k.user_id), "
          "e.stream_ordering, e.sender, rm.sender, e.instance_name, e.outlier, "
          "rm.forgotten, rm.event_id IS NOT NULL, c.event_id IS NOT NULL, m.xmin, " +
              std::string(snapshot_columns) + " FROM " +
              "{rows} LEFT JOIN %S.rooms r ON r.room_id %= k.room_id "
              "LEFT JOIN %S.local_current_membership l ON l.room_id %= k.room_id AND l.user_id %= "
              "k.user_id "
              "LEFT JOIN %S.events e ON e.event_id %= l.event_id "
              "LEFT JOIN %S.room_memberships rm ON rm.event_id %= l.event_id "
              "LEFT JOIN %S.current_state_events c ON c.room_id %= k.room_id AND c.type %= $3 "
              "AND c.state_key %= k.user_id AND c.event_id %= l.event_id "
              "LEFT JOIN %S.sliding_sync_membership_snapshots m ON m.room_id %= k.room_id AND m.user_id "
              "%= k.user_id",
          s.name, membership_key_rows(), {TEXTOID}, Indexes::of_membership_keys),
      details_("membership_details",
               "SELECT k.n, j.json, j.internal_metadata, " + may_be_redacted(s, "e") +
                   " FROM {rows} "
                   "JOIN %S.events e ON e.event_id %= k.event_id "
                   "LEFT JOIN %S.event_json j ON j.event_id %= k.event_id",
               s.name, event_keys()),
      rooms_with_state_("rooms_with_state",
                        sql_text("SELECT k.room_id FROM pg_catalog.unnest($1) k(room_id) WHERE EXISTS "
                                 "(SELECT FROM %S.current_state_events a WHERE a.room_id %= k.room_id)",
                                 s.name),
                        {TEXTARRAYOID}),
      been_in_state_("been_in_state",
                     sql_text("SELECT e.event_id FROM %S.events e WHERE e.event_id %= ANY ($1) "
                              // a scalar, so that nothing but a look into an index can answer
                              "AND (SELECT 1 FROM " +
                                  may_have_been_in_state(s) + " LIMIT 1) IS NOT NULL",
                              s.name),
                     {TEXTARRAYOID}),
      memberships_before_(
          "memberships_before",
          "SELECT k.n, l.event_id, c.event_id, " + std::string(snapshot_columns) + " FROM " +
              "{rows} LEFT JOIN %S.local_current_membership l ON l.room_id %= k.room_id AND l.user_id %= "
              "k.user_id "
              "LEFT JOIN %S.current_state_events c ON c.room_id %= k.room_id AND c.type %= $3 "
              "AND c.state_key %= k.user_id "
              "LEFT JOIN %S.sliding_sync_membership_snapshots m ON m.room_id %= k.room_id "
              "AND m.user_id %= k.user_id",
          s.name, membership_key_rows(), {TEXTOID}, Indexes::of_membership_keys),
      earlier_invites_(
          "earlier_invites",
          sql_text("SELECT k.n, x.event_id, x.room_id, x.sender, x.stream_ordering, x.membership, x.json "
                   "FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) "
                   "WITH ORDINALITY k(room_id, user_id, event_id, n) "
                   "CROSS JOIN LATERAL (SELECT e.event_id, e.room_id, e.sender, e.stream_ordering, "
                   "rm.membership, j.json "
                   "FROM %S.room_memberships rm JOIN %S.events e ON e.event_id %= rm.event_id "
                   "JOIN %S.event_json j ON j.event_id %= rm.event_id "
                   "WHERE rm.room_id %= k.room_id AND rm.user_id %= k.user_id AND rm.event_id %<> k.event_id "
                   "AND rm.membership %= ANY (ARRAY['invite','knock']) "
                   "ORDER BY e.topological_ordering DESC, e.stream_ordering DESC LIMIT 1) x",
                   s.name),
          {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID}) {}

void MembershipFacts::lock(std::span<const MembershipKey> keys) {
    const MembershipKeyColumns columns(keys);
    lock_.run(Arguments().texts(columns.room_ids).texts(columns.user_ids));
}

void MembershipFacts::lock_inputs(std::span<const MembershipKey> keys) {
    const MembershipKeyColumns columns(keys);
    lock_memberships_.run(Arguments().texts(columns.room_ids).texts(columns.user_ids));
    lock_forgotten_.run(Arguments().texts(columns.room_ids).texts(columns.user_ids));
}

bool MembershipFacts::is_referred_to_by_now(std::string_view event_id) {
    return has_snapshots_ && event_reference_.run(Arguments().text(event_id), View::latest)[0][0].boolean();
}

bool MembershipFacts::exist_by_now(std::span<const MembershipKey> keys) {
    const MembershipKeyColumns columns(keys);
    return exist_.run(Arguments().texts(columns.room_ids).texts(columns.user_ids), View::latest)[0][0]
        .boolean();
}

std::set<std::string> MembershipFacts::rooms_with_state(const std::set<std::string>& room_ids, View view) {
    if (room_ids.empty()) {
        return {};
    }
    const std::vector<std::string_view> asked(room_ids.begin(), room_ids.end());
    const auto found = first_column(rooms_with_state_.run(Arguments().texts(asked), view));
    return {found.begin(), found.end()};
}

// Asked once a room, and only where a membership does not stand in current state itself: where this very transaction
// has written or deleted the state of a big room, each answer walks over all of it.
void MembershipFacts::read_rooms_with_state(std::vector<StoredMembership>& memberships) {
    std::set<std::string> asked;
    for (const StoredMembership& membership : memberships) {
        if (!membership.facts.event_id.empty() && !membership.facts.in_current_state) {
            asked.insert(membership.facts.room_id);
        }
    }
    const std::set<std::string> now = rooms_with_state(asked, View::current);
    std::erase_if(asked, [&](const std::string& room_id) { return now.contains(room_id); });
    const std::set<std::string> before = rooms_with_state(asked, View::before_transaction);
    for (StoredMembership& membership : memberships) {
        rules::MembershipFacts& facts = membership.facts;
        facts.room_has_current_state = facts.in_current_state || now.contains(facts.room_id);
        facts.room_had_current_state = before.contains(facts.room_id);
    }
}

std::vector<StoredMembership> MembershipFacts::memberships(std::span<const MembershipKey> keys,
                                                           const MembershipsBefore& before,
                                                           rules::Occasion occasion) {
    std::vector<StoredMembership> result(keys.size());
    const MembershipKeyColumns columns(keys);
    const Rows rows = memberships_.run(key_arguments(columns));
    for (std::size_t i = 0; i < rows.count; ++i) {
        const auto row = rows[i];
        const std::size_t n = position(row[0]);
        rules::MembershipFacts& facts = result[n].facts;
        facts.occasion = occasion;
        facts.room_id = keys[n].room_id;
        facts.user_id = keys[n].user_id;
        facts.in_rooms = row[1].boolean();
        facts.event_id = row[2].text();
        facts.membership = row[3].text();
        facts.event_stored = row[4].boolean();
        facts.stream_ordering = row[5].optional_number();
        facts.sender = row[6].optional_text();
        facts.room_memberships_sender = row[7].optional_text();
        facts.instance_name = row[8].optional_text();
        facts.outlier = row[9].boolean();
        if (row[11].boolean()) {  // the room_memberships row exists; its forgotten may be NULL (spec 1.5)
            facts.forgotten = static_cast<std::int32_t>(row[10].optional_number().value_or(0));
        }
        facts.in_current_state = row[12].boolean();
        facts.room_has_current_state = facts.in_current_state;  // of the others below
        result[n].row_written_by_this_transaction =
            !row[13].is_null && written_by_this_transaction(static_cast<std::uint32_t>(row[13].number));
        result[n].row = read_snapshot(keys[n], row.subspan(14));
    }
    read_details(result);
    if (occasion == rules::Occasion::change) {
        read_rooms_with_state(result);
        read_before(keys, before, result);
    } else {
        for (StoredMembership& membership : result) {
            membership.facts.previous = membership.row;
        }
        read_been_in_state(result);
    }
    return result;
}

// The event itself is read where it tells more than that somebody is in a room or has left it: stripped state, where the
// membership came from, and a sender that stands nowhere else.
void MembershipFacts::read_details(std::span<StoredMembership> memberships) {
    std::vector<std::string_view> event_ids;
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < memberships.size(); ++i) {
        const rules::MembershipFacts& facts = memberships[i].facts;
        const bool is_plain = facts.in_current_state && !facts.outlier && facts.sender &&
                              facts.membership != "invite" && facts.membership != "knock";
        if (!facts.event_id.empty() && !is_plain) {
            event_ids.push_back(facts.event_id);
            places.push_back(i);
        }
    }
    if (event_ids.empty()) {
        return;
    }
    const Rows rows = details_.run(Arguments(event_ids.size()).texts(event_ids));
    std::vector<RedactionCandidate> candidates;
    std::vector<std::size_t> doubtful;
    for (std::size_t i = 0; i < rows.count; ++i) {
        const auto row = rows[i];
        const std::size_t n = places[position(row[0])];
        rules::MembershipFacts& facts = memberships[n].facts;
        facts.json = row[1].text();
        facts.internal_metadata = row[2].text();
        if (row[3].boolean()) {
            candidates.push_back(
                {facts.event_id, facts.room_id,
                 facts.sender ? std::optional<std::string_view>(*facts.sender) : std::nullopt, row[1].text(),
                 facts.stream_ordering});
            doubtful.push_back(n);
        }
    }
    const std::vector<bool> verdicts = redacted_.of(candidates);
    for (std::size_t i = 0; i < doubtful.size(); ++i) {
        memberships[doubtful[i]].facts.redacted = verdicts[i];
    }
}

// Asked of invites and knocks from outside only, and not while a homeserver waits.
void MembershipFacts::read_been_in_state(std::vector<StoredMembership>& memberships) {
    std::vector<std::string_view> asked;
    for (const StoredMembership& membership : memberships) {
        const rules::MembershipFacts& facts = membership.facts;
        if (facts.outlier && !facts.in_current_state &&
            (facts.membership == "invite" || facts.membership == "knock")) {
            asked.push_back(facts.event_id);
        }
    }
    if (asked.empty()) {
        return;
    }
    const auto found = first_column(been_in_state_.run(Arguments().texts(asked)));
    const std::set<std::string_view> in_state(found.begin(), found.end());
    for (StoredMembership& membership : memberships) {
        membership.facts.may_have_been_in_state = in_state.contains(membership.facts.event_id);
    }
}

// What stood there before this transaction. In the usual case the changed row has told, and the snapshot is untouched.
void MembershipFacts::read_before(std::span<const MembershipKey> keys, const MembershipsBefore& before,
                                  std::vector<StoredMembership>& memberships) {
    std::vector<MembershipKey> unknown;
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < keys.size(); ++i) {
        StoredMembership& membership = memberships[i];
        const auto told = before.find(keys[i]);
        const bool had_membership = told != before.end() && !told->second.empty();
        const bool is_untouched =
            membership.row ? !membership.row_written_by_this_transaction : !had_membership;
        const bool is_same =
            (had_membership && told->second == membership.facts.event_id) ||
            (membership.row && membership.row->membership_event_id == membership.facts.event_id);
        if (told != before.end() && is_untouched && !is_same) {
            membership.facts.previous = membership.row;
        } else {
            unknown.push_back(keys[i]);
            places.push_back(i);
        }
    }
    if (unknown.empty()) {
        return;
    }
    const MembershipKeyColumns columns(unknown);
    const Rows rows = memberships_before_.run(key_arguments(columns), View::before_transaction);
    for (std::size_t i = 0; i < rows.count; ++i) {
        const auto row = rows[i];
        const std::size_t n = places[position(row[0])];
        rules::MembershipFacts& facts = memberships[n].facts;
        facts.previous = read_snapshot(keys[n], row.subspan(3));
        const bool same_membership =
            (!row[1].is_null && row[1].text() == facts.event_id) ||
            (facts.previous && facts.previous->membership_event_id == facts.event_id);
        const bool entered_current_state =
            facts.in_current_state && (row[2].is_null || row[2].text() != facts.event_id);
        facts.membership_unchanged = same_membership && !entered_current_state;
    }
}

std::vector<EarlierInvite>
MembershipFacts::earlier_invites(std::span<const MembershipKey> keys,
                                 std::span<const std::string_view> but_not_event_ids) {
    std::vector<EarlierInvite> result(keys.size());
    const MembershipKeyColumns columns(keys);
    const Rows rows = earlier_invites_.run(
        Arguments().texts(columns.room_ids).texts(columns.user_ids).texts(but_not_event_ids));
    std::vector<RedactionCandidate> candidates;
    for (std::size_t i = 0; i < rows.count; ++i) {
        const auto row = rows[i];
        EarlierInvite& invite = result[position(row[0])];
        invite.membership = row[5].text();
        invite.json = row[6].text();
        candidates.push_back({row[1].text(), row[2].text(),
                              row[3].is_null ? std::nullopt : std::optional(row[3].text()), row[6].text(),
                              row[4].optional_number()});
    }
    const std::vector<bool> verdicts = redacted_.of(candidates);
    for (std::size_t i = 0; i < rows.count; ++i) {
        result[position(rows[i][0])].redacted = verdicts[i];
    }
    return result;
}

}  // namespace sliding_sync
