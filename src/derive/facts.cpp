#include "derive/facts.hpp"

#include <unordered_set>

#include "derive/sql_text.hpp"
#include "rules/redaction.hpp"
#include "server/transaction.hpp"

extern "C" {
#include "catalog/pg_type.h"
}

namespace sliding_sync {

namespace {

// Fragments that stand in several statements.
template <std::size_t count>
std::string sql_array(const std::array<std::string_view, count>& values) {
    std::string array = "ARRAY[";
    for (const std::string_view value : values) {
        array += (array.back() == '[' ? "'" : ",'") + std::string(value) + "'";
    }
    return array + "]";
}

const std::string relevant_types = sql_array(rules::relevant_state_types);
const std::string bump_types = sql_array(rules::bump_types);

std::string rejected(const HomeserverSchema& schema, const std::string& event) {
    std::string condition = "(" + event + ".rejection_reason IS NOT NULL";
    if (schema.has_rejections) {
        condition += " OR EXISTS (SELECT FROM %S.rejections x WHERE x.event_id %= " + event + ".event_id)";
    }
    return condition + ")";
}

// Whether looking for redactions is worth a second statement.
std::string maybe_redacted(const HomeserverSchema& schema, const std::string& event) {
    std::string condition = "(EXISTS (SELECT FROM %S.redactions x WHERE x.redacts %= " + event + ".event_id)";
    if (schema.has_ban_redactions) {
        condition += " OR EXISTS (SELECT FROM %S.room_ban_redactions b WHERE b.room_id %= " + event +
                     ".room_id AND b.user_id %= " + event + ".sender)";
    }
    return condition + ")";
}

std::string state_event_columns(const HomeserverSchema& schema) {
    return "k.n, e.type, e.event_id, e.room_id, e.sender, e.stream_ordering, " + rejected(schema, "e") +
           ", j.json, (e.type %<> 'm.room.create' AND " + maybe_redacted(schema, "e") + ")";
}

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

std::size_t position(const Cell& ordinality) noexcept {
    return static_cast<std::size_t>(ordinality.number - 1);
}

struct KeyColumns {
    std::vector<std::string_view> room_ids;
    std::vector<std::string_view> user_ids;

    explicit KeyColumns(std::span<const MembershipKey> keys) {
        room_ids.reserve(keys.size());
        user_ids.reserve(keys.size());
        for (const MembershipKey& key : keys) {
            room_ids.push_back(key.room_id);
            user_ids.push_back(key.user_id);
        }
    }
};

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

constexpr std::string_view membership_keys =
    "ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH ORDINALITY k(room_id, user_id, n)";

}  // namespace

struct Facts::Target {
    std::string_view event_id;
    std::string_view room_id;
    std::string_view sender;
    std::optional<std::int64_t> stream_ordering;
};

Facts::Facts(const HomeserverSchema& s)
    : has_ban_redactions_(s.has_ban_redactions), has_joined_rooms_(s.has_joined_rooms),
      has_membership_snapshots_(s.has_membership_snapshots),
      lock_joined_rooms_(
          sql_text("SELECT j.room_id FROM %S.sliding_sync_joined_rooms j WHERE j.room_id %= ANY ($1) "
                   "ORDER BY j.room_id FOR NO KEY UPDATE",
                   s.name),
          {TEXTARRAYOID}),
      lock_memberships_(
          sql_text(
              "SELECT m.room_id FROM %S.sliding_sync_membership_snapshots m "
              "WHERE (m.room_id, m.user_id) %= ANY (SELECT k.room_id, k.user_id FROM ROWS FROM "
              "(pg_catalog.unnest($1), "
              "pg_catalog.unnest($2)) k(room_id, user_id)) ORDER BY m.room_id, m.user_id FOR NO KEY UPDATE",
              s.name),
          {TEXTARRAYOID, TEXTARRAYOID}),
      joined_rooms_(
          sql_text("SELECT k.n, r.room_id IS NOT NULL, j.xmin, j.event_stream_ordering, j.bump_stamp, "
                   "j.room_type, j.room_name, j.is_encrypted, j.tombstone_successor_room_id "
                   "FROM pg_catalog.unnest($1) WITH ORDINALITY k(room_id, n) "
                   "LEFT JOIN %S.rooms r ON r.room_id %= k.room_id "
                   "LEFT JOIN %S.sliding_sync_joined_rooms j ON j.room_id %= k.room_id",
                   s.name),
          {TEXTARRAYOID}),
      orderings_(
          sql_text(
              "SELECT k.n, "
              "(SELECT e.stream_ordering FROM %S.events e WHERE e.room_id %= k.room_id AND NOT e.outlier "
              "AND e.stream_ordering IS NOT NULL AND NOT " +
                  rejected(s, "e") +
                  " ORDER BY e.stream_ordering DESC LIMIT 1), "
                  "(SELECT e.stream_ordering FROM %S.events e WHERE e.room_id %= k.room_id AND NOT e.outlier "
                  "AND e.stream_ordering %> 0 AND e.type %= ANY (" +
                  bump_types + ") AND NOT " + rejected(s, "e") +
                  " ORDER BY e.stream_ordering DESC LIMIT 1) "
                  "FROM pg_catalog.unnest($1) WITH ORDINALITY k(room_id, n)",
              s.name),
          {TEXTARRAYOID}),
      current_state_(
          sql_text("SELECT " + state_event_columns(s) +
                       " FROM pg_catalog.unnest($1) WITH ORDINALITY k(room_id, n) "
                       "JOIN %S.current_state_events c ON c.room_id %= k.room_id AND c.state_key %= '' "
                       "AND c.type %= ANY (" +
                       relevant_types +
                       ") JOIN %S.events e ON e.event_id %= c.event_id "
                       "JOIN %S.event_json j ON j.event_id %= c.event_id",
                   s.name),
          {TEXTARRAYOID}),
      current_state_ids_(
          sql_text("SELECT k.n, c.type, c.event_id "
                   "FROM pg_catalog.unnest($1) WITH ORDINALITY k(room_id, n) "
                   "JOIN %S.current_state_events c ON c.room_id %= k.room_id AND c.state_key %= '' "
                   "AND c.type %= ANY (" +
                       relevant_types + ")",
                   s.name),
          {TEXTARRAYOID}),
      new_state_ids_(sql_text("SELECT k.n, e.type, e.event_id FROM ROWS FROM (pg_catalog.unnest($1), "
                              "pg_catalog.unnest($2)) WITH ORDINALITY k(room_id, oldest, n) "
                              "JOIN %S.events e ON e.room_id %= k.room_id AND e.stream_ordering %>= k.oldest "
                              "AND e.type %= ANY (" +
                                  relevant_types + ") AND NOT e.outlier WHERE e.state_key %= '' AND NOT " +
                                  rejected(s, "e") + " ORDER BY e.stream_ordering",
                              s.name),
                     {TEXTARRAYOID, INT8ARRAYOID}),
      visible_before_(sql_text("SELECT e.event_id FROM %S.events e WHERE e.event_id %= ANY ($1)", s.name),
                      {TEXTARRAYOID}),
      state_events_by_id_(
          sql_text("SELECT " + state_event_columns(s) +
                       " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) k(event_id, n) "
                       "JOIN %S.events e ON e.event_id %= k.event_id "
                       "JOIN %S.event_json j ON j.event_id %= k.event_id",
                   s.name),
          {TEXTARRAYOID, INT8ARRAYOID}),
      redactions_(sql_text("SELECT k.n, " + std::string(s.has_redaction_recheck ? "x.recheck" : "true") +
                               ", (e.event_id IS NOT NULL AND j.event_id IS NOT NULL), " + rejected(s, "e") +
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
                  rejected(s, "e") +
                  ", (e.room_id %= k.room_id), e.sender, j.json, j.internal_metadata "
                  "FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH ORDINALITY k(room_id, "
                  "user_id, n) "
                  "JOIN %S.room_ban_redactions x ON x.room_id %= k.room_id AND x.user_id %= k.user_id "
                  "LEFT JOIN %S.events e ON e.event_id %= x.redacting_event_id "
                  "LEFT JOIN %S.event_json j ON j.event_id %= x.redacting_event_id",
              s.name),
          {TEXTARRAYOID, TEXTARRAYOID}),
      memberships_(
          sql_text(
              "SELECT k.n, r.room_id IS NOT NULL, l.event_id, l.membership, (e.room_id %= k.room_id), "
              "e.stream_ordering, "
              "e.sender, rm.sender, e.instance_name, e.outlier, "
              // the JSON is read for stripped state, and for a sender that stands nowhere else
              "CASE WHEN e.outlier OR c.event_id IS NULL OR e.sender IS NULL OR l.membership %= 'invite' "
              "OR l.membership %= 'knock' THEN j.json END, "
              "j.internal_metadata, rm.forgotten, rm.event_id IS NOT NULL, c.event_id IS NOT NULL, "
              "(c.event_id IS NOT NULL OR EXISTS (SELECT FROM %S.current_state_events a WHERE a.room_id %= "
              "k.room_id)), " +
                  maybe_redacted(s, "e") + ", " + std::string(snapshot_columns) + " FROM " +
                  std::string(membership_keys) +
                  " LEFT JOIN %S.rooms r ON r.room_id %= k.room_id "
                  "LEFT JOIN %S.local_current_membership l ON l.room_id %= k.room_id AND l.user_id %= "
                  "k.user_id "
                  "LEFT JOIN %S.events e ON e.event_id %= l.event_id "
                  "LEFT JOIN %S.event_json j ON j.event_id %= l.event_id "
                  "LEFT JOIN %S.room_memberships rm ON rm.event_id %= l.event_id "
                  "LEFT JOIN %S.current_state_events c ON c.room_id %= k.room_id AND c.type %= "
                  "'m.room.member' "
                  "AND c.state_key %= k.user_id AND c.event_id %= l.event_id "
                  "LEFT JOIN %S.sliding_sync_membership_snapshots m ON m.room_id %= k.room_id AND m.user_id "
                  "%= k.user_id",
              s.name),
          {TEXTARRAYOID, TEXTARRAYOID}),
      memberships_before_(
          sql_text("SELECT k.n, l.event_id, c.event_id, "
                   "EXISTS (SELECT FROM %S.current_state_events a WHERE a.room_id %= k.room_id), " +
                       std::string(snapshot_columns) + " FROM " + std::string(membership_keys) +
                       " LEFT JOIN %S.local_current_membership l ON l.room_id %= k.room_id AND l.user_id %= "
                       "k.user_id "
                       "LEFT JOIN %S.current_state_events c ON c.room_id %= k.room_id AND c.type %= "
                       "'m.room.member' "
                       "AND c.state_key %= k.user_id "
                       "LEFT JOIN %S.sliding_sync_membership_snapshots m ON m.room_id %= k.room_id "
                       "AND m.user_id %= k.user_id",
                   s.name),
          {TEXTARRAYOID, TEXTARRAYOID}),
      earlier_invites_(
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
          {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID}),
      rooms_of_state_events_(
          sql_text("SELECT c.room_id FROM %S.current_state_events c WHERE c.event_id %= ANY ($1) "
                   "UNION SELECT c.room_id FROM %S.redactions x "
                   "JOIN %S.current_state_events c ON c.event_id %= x.redacts WHERE x.event_id %= ANY ($1)",
                   s.name),
          {TEXTARRAYOID}),
      rooms_of_events_(
          sql_text("SELECT DISTINCT e.room_id FROM %S.events e WHERE e.event_id %= ANY ($1)", s.name),
          {TEXTARRAYOID}),
      memberships_of_events_(sql_text("SELECT DISTINCT rm.room_id, rm.user_id FROM %S.room_memberships rm "
                                      "WHERE rm.event_id %= ANY ($1)",
                                      s.name),
                             {TEXTARRAYOID}),
      memberships_of_rooms_(
          sql_text(
              "SELECT l.room_id, l.user_id FROM %S.local_current_membership l WHERE l.room_id %= ANY ($1)",
              s.name),
          {TEXTARRAYOID}),
      joined_room_reference_(
          sql_text("SELECT EXISTS (SELECT FROM %S.sliding_sync_joined_rooms j WHERE j.room_id %= $1 AND NOT "
                   "EXISTS "
                   "(SELECT FROM %S.events e WHERE e.stream_ordering %= j.event_stream_ordering))",
                   s.name),
          {TEXTOID}),
      snapshot_reference_(
          sql_text("SELECT EXISTS (SELECT FROM %S.sliding_sync_membership_snapshots m WHERE m.room_id %= $1)",
                   s.name),
          {TEXTOID}),
      rooms_after_(sql_text("SELECT x.room_id FROM (SELECT j.room_id FROM %S.sliding_sync_joined_rooms j "
                            "WHERE j.room_id %> $1 UNION SELECT c.room_id FROM %S.current_state_events c "
                            "WHERE c.room_id %> $1 AND c.state_key %= '' AND c.type %= ANY (" +
                                relevant_types + ")) x ORDER BY x.room_id LIMIT $2",
                            s.name),
                   {TEXTOID, INT8OID}),
      stale_memberships_after_(
          sql_text("SELECT m.room_id, m.user_id FROM %S.sliding_sync_membership_snapshots m "
                   "WHERE (m.room_id, m.user_id) %> ($1, $2) AND NOT EXISTS (SELECT FROM "
                   "%S.local_current_membership l WHERE l.room_id %= m.room_id AND l.user_id %= m.user_id "
                   "AND l.event_id %= m.membership_event_id) ORDER BY m.room_id, m.user_id LIMIT $3",
                   s.name),
          {TEXTOID, TEXTOID, INT8OID}) {}

void Facts::lock_joined_rooms(std::span<const std::string_view> room_ids) {
    lock_joined_rooms_.run(Arguments().texts(room_ids));
}

void Facts::lock_memberships(std::span<const MembershipKey> keys) {
    const KeyColumns columns(keys);
    lock_memberships_.run(Arguments().texts(columns.room_ids).texts(columns.user_ids));
}

std::vector<StoredRoom> Facts::joined_rooms(std::span<const std::string_view> room_ids) {
    std::vector<StoredRoom> result(room_ids.size());
    const Rows rows = joined_rooms_.run(Arguments().texts(room_ids));
    for (std::size_t i = 0; i < rows.count; ++i) {
        const auto row = rows[i];
        const std::size_t n = position(row[0]);
        StoredRoom& room = result[n];
        room.in_rooms = row[1].boolean();
        if (row[2].is_null) {
            continue;
        }
        room.written_by_this_transaction =
            written_by_this_transaction(static_cast<std::uint32_t>(row[2].number));
        room.row = rules::JoinedRoom{
            std::string(room_ids[n]),
            row[3].number,
            row[4].optional_number(),
            {row[5].optional_text(), row[6].optional_text(), row[7].boolean(), row[8].optional_text()}};
    }
    return result;
}

std::vector<Orderings> Facts::orderings(std::span<const std::string_view> room_ids) {
    std::vector<Orderings> result(room_ids.size());
    const Rows rows = orderings_.run(Arguments().texts(room_ids));
    for (std::size_t i = 0; i < rows.count; ++i) {
        const auto row = rows[i];
        result[position(row[0])] = {row[1].optional_number(), row[2].optional_number()};
    }
    return result;
}

// Rows of state_event_columns.
std::vector<rules::StateEvents> Facts::state_events(Rows rows, std::size_t room_count) {
    std::vector<rules::StateEvents> result(room_count);
    std::vector<Target> targets;
    std::vector<std::pair<std::size_t, std::size_t>> places;  // of each target: room, kind
    for (std::size_t i = 0; i < rows.count; ++i) {
        const auto row = rows[i];
        const auto kind = rules::state_kind(row[1].text());
        if (!kind) {
            continue;
        }
        const std::size_t slot = static_cast<std::size_t>(*kind);
        result[position(row[0])][slot] = rules::StateEvent{row[7].text(), false, row[6].boolean()};
        if (row[8].boolean()) {
            targets.push_back({row[2].text(), row[3].text(),
                               row[4].is_null ? std::string_view() : row[4].text(),
                               row[5].optional_number()});
            places.emplace_back(position(row[0]), slot);
        }
    }
    const std::vector<bool> verdicts = redacted(targets);
    for (std::size_t i = 0; i < places.size(); ++i) {
        result[places[i].first][places[i].second]->redacted = verdicts[i];
    }
    return result;
}

std::vector<rules::StateEvents> Facts::current_state(std::span<const std::string_view> room_ids) {
    return state_events(current_state_.run(Arguments().texts(room_ids)), room_ids.size());
}

std::vector<rules::StateEvents> Facts::wiped_state(std::span<const std::string_view> room_ids,
                                                   std::span<const std::optional<std::int64_t>> oldest) {
    std::vector<std::array<std::string_view, rules::state_kind_count>> found(room_ids.size());
    const auto take = [&](std::span<const Cell> row) {
        if (const auto kind = rules::state_kind(row[1].text())) {
            found[position(row[0])][static_cast<std::size_t>(*kind)] = row[2].text();
        }
    };
    const Rows before = current_state_ids_.run(Arguments().texts(room_ids), View::before_transaction);
    for (std::size_t i = 0; i < before.count; ++i) {
        take(before[i]);
    }
    const Rows newer = new_state_ids_.run(Arguments().texts(room_ids).numbers(oldest));
    std::vector<std::string_view> newer_ids;
    for (std::size_t i = 0; i < newer.count; ++i) {
        newer_ids.push_back(newer[i][2].text());
    }
    const auto old_ids =
        first_column(visible_before_.run(Arguments().texts(newer_ids), View::before_transaction));
    const std::unordered_set<std::string_view> old(old_ids.begin(), old_ids.end());
    for (std::size_t i = 0; i < newer.count; ++i) {
        if (!old.contains(newer_ids[i])) {
            take(newer[i]);
        }
    }
    std::vector<std::string_view> event_ids;
    std::vector<std::optional<std::int64_t>> positions;
    for (std::size_t room = 0; room < found.size(); ++room) {
        for (const std::string_view event_id : found[room]) {
            if (!event_id.empty()) {
                event_ids.push_back(event_id);
                positions.emplace_back(static_cast<std::int64_t>(room + 1));
            }
        }
    }
    // The events are read as a reader sees them now, redactions of this very transaction included.
    return state_events(state_events_by_id_.run(Arguments().texts(event_ids).numbers(positions)),
                        room_ids.size());
}

std::vector<bool> Facts::redacted(std::span<const Target> targets) {
    std::vector<bool> result(targets.size(), false);
    if (targets.empty()) {
        return result;
    }
    std::vector<std::string_view> event_ids;
    std::vector<std::string_view> room_ids;
    std::vector<std::string_view> senders;
    for (const Target& target : targets) {
        event_ids.push_back(target.event_id);
        room_ids.push_back(target.room_id);
        senders.push_back(target.sender);
    }
    // columns 2.. are the same in both statements: stored, rejected, same room, sender, json, internal_metadata
    const auto redaction_event = [](std::span<const Cell> row) {
        return rules::RedactionEvent{row[2].boolean(), row[3].boolean(), row[4].boolean(),
                                     row[5].text(),    row[6].text(),    row[7].text()};
    };
    std::vector<std::vector<rules::Redaction>> redactions(targets.size());
    const Rows rows = redactions_.run(Arguments().texts(event_ids).texts(room_ids));
    for (std::size_t i = 0; i < rows.count; ++i) {
        redactions[position(rows[i][0])].push_back({rows[i][1].boolean(), redaction_event(rows[i])});
    }
    std::vector<std::vector<rules::BanRedaction>> bans(targets.size());
    if (has_ban_redactions_) {
        const Rows ban_rows = ban_redactions_.run(Arguments().texts(room_ids).texts(senders));
        for (std::size_t i = 0; i < ban_rows.count; ++i) {
            bans[position(ban_rows[i][0])].push_back(
                {ban_rows[i][1].optional_number(), redaction_event(ban_rows[i])});
        }
    }
    for (std::size_t i = 0; i < targets.size(); ++i) {
        result[i] =
            rules::is_redacted({targets[i].sender, targets[i].stream_ordering}, redactions[i], bans[i]);
    }
    return result;
}

std::vector<StoredMembership> Facts::memberships(std::span<const MembershipKey> keys) {
    std::vector<StoredMembership> result(keys.size());
    const KeyColumns columns(keys);
    const Rows rows = memberships_.run(Arguments().texts(columns.room_ids).texts(columns.user_ids));
    std::vector<Target> targets;
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < rows.count; ++i) {
        const auto row = rows[i];
        const std::size_t n = position(row[0]);
        rules::MembershipFacts& facts = result[n].facts;
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
        facts.json = row[10].text();
        facts.internal_metadata = row[11].text();
        if (row[13].boolean()) {  // the room_memberships row exists; its forgotten may be NULL (spec 1.5)
            facts.forgotten = static_cast<std::int32_t>(row[12].optional_number().value_or(0));
        }
        facts.in_current_state = row[14].boolean();
        facts.room_has_current_state = row[15].boolean();
        if (row[16].boolean()) {
            targets.push_back({row[2].text(), keys[n].room_id,
                               row[6].is_null ? std::string_view() : row[6].text(),
                               row[5].optional_number()});
            places.push_back(n);
        }
        result[n].row = read_snapshot(keys[n], row.subspan(17));
    }
    const std::vector<bool> verdicts = redacted(targets);
    for (std::size_t i = 0; i < places.size(); ++i) {
        result[places[i]].facts.redacted = verdicts[i];
    }
    const Rows before = memberships_before_.run(Arguments().texts(columns.room_ids).texts(columns.user_ids),
                                                View::before_transaction);
    for (std::size_t i = 0; i < before.count; ++i) {
        const auto row = before[i];
        const std::size_t n = position(row[0]);
        rules::MembershipFacts& facts = result[n].facts;
        facts.room_had_current_state = row[3].boolean();
        facts.previous = read_snapshot(keys[n], row.subspan(4));
        const bool same_membership =
            (!row[1].is_null && row[1].text() == facts.event_id) ||
            (facts.previous && facts.previous->membership_event_id == facts.event_id);
        const bool entered_current_state =
            facts.in_current_state && (row[2].is_null || row[2].text() != facts.event_id);
        facts.membership_unchanged = same_membership && !entered_current_state;
    }
    return result;
}

std::vector<EarlierInvite> Facts::earlier_invites(std::span<const MembershipKey> keys,
                                                  std::span<const std::string_view> but_not_event_ids) {
    std::vector<EarlierInvite> result(keys.size());
    const KeyColumns columns(keys);
    const Rows rows = earlier_invites_.run(
        Arguments().texts(columns.room_ids).texts(columns.user_ids).texts(but_not_event_ids));
    std::vector<Target> targets;
    for (std::size_t i = 0; i < rows.count; ++i) {
        const auto row = rows[i];
        EarlierInvite& invite = result[position(row[0])];
        invite.membership = row[5].text();
        invite.json = row[6].text();
        targets.push_back({row[1].text(), row[2].text(), row[3].is_null ? std::string_view() : row[3].text(),
                           row[4].optional_number()});
    }
    const std::vector<bool> verdicts = redacted(targets);
    for (std::size_t i = 0; i < rows.count; ++i) {
        result[position(rows[i][0])].redacted = verdicts[i];
    }
    return result;
}

std::vector<std::string_view> Facts::rooms_of_state_events(std::span<const std::string_view> event_ids) {
    return first_column(rooms_of_state_events_.run(Arguments().texts(event_ids)));
}

std::vector<std::string_view> Facts::rooms_of_events(std::span<const std::string_view> event_ids) {
    return first_column(rooms_of_events_.run(Arguments().texts(event_ids)));
}

std::vector<MembershipKey> Facts::memberships_of_events(std::span<const std::string_view> event_ids) {
    return first_two_columns(memberships_of_events_.run(Arguments().texts(event_ids)));
}

std::vector<MembershipKey> Facts::memberships_of_rooms(std::span<const std::string_view> room_ids) {
    return first_two_columns(memberships_of_rooms_.run(Arguments().texts(room_ids)));
}

Facts::References Facts::references(std::string_view room_id) {
    References found;
    if (has_joined_rooms_) {
        found.joined_room = joined_room_reference_.run(Arguments().text(room_id))[0][0].boolean();
    }
    if (has_membership_snapshots_) {
        found.snapshots = snapshot_reference_.run(Arguments().text(room_id))[0][0].boolean();
    }
    return found;
}

std::vector<std::string_view> Facts::rooms_after(std::string_view after, std::int64_t limit) {
    return first_column(rooms_after_.run(Arguments().text(after).number(limit)));
}

std::vector<MembershipKey> Facts::stale_memberships_after(const MembershipKey& after, std::int64_t limit) {
    return first_two_columns(
        stale_memberships_after_.run(Arguments().text(after.room_id).text(after.user_id).number(limit)));
}

}  // namespace sliding_sync
