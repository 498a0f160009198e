// The facts of local memberships, read for all keys of a pass.
//
// Phases of facts():
//   1. by key, in one lookup scope: the room, the membership (where whole rooms are looked at, one room at
//      once), its event with the row of room_memberships, and whether it is in current state
//   2. in the same scope, of the memberships that need more (invites, knocks, leaves, outliers): the event's
//      JSON and its redactions
//   3. live: whether the room has current state at all, asked once a room and kept in the RefreshScope, and
//      what stood there before this transaction; otherwise: the stored row, and whether an invite or knock
//      from outside was ever in current state
//
// What stood before is told by the first change of the row, as the trigger saw it (MembershipsBefore);
// without that it is read with the snapshot `before_transaction`.
//
// Every look-up goes by a full key through an index, without a plan (pg/table_reader.hpp): for the usual pass
// of one or two keys, starting an executor would cost more than all of them. Statements over the whole pass
// are used where the answer is a condition and no row.
//
// Locks: none in live mode; the caller has locked the snapshots. Bad data is no error: what is missing, of
// another room or type, or unreadable comes out empty, and the rules decide. Views point into memory of the
// open SpiConnection.
#include "derive/membership_facts.hpp"

extern "C" {
#include "catalog/pg_type.h"
}

namespace sliding_sync {

namespace {

// After a broken index a key may stand there twice (P55).
bool stands_in_current_state(const Rows& state, std::string_view event_id) noexcept {
    for (std::size_t i = 0; i < state.count; ++i) {
        if (state[i][0].text() == event_id) {
            return true;
        }
    }
    return false;
}

const std::vector<KeyColumn> membership_key{{"room_id", TEXTOID}, {"user_id", TEXTOID}};

namespace event_column {
enum Column : std::size_t { room_id, type, state_key, stream_ordering, sender, instance_name, outlier };
const std::vector<const char*> names{"room_id", "type",          "state_key", "stream_ordering",
                                     "sender",  "instance_name", "outlier"};
}  // namespace event_column

constexpr std::string_view rooms_with_state_sql = R"(
    SELECT k.room_id
    FROM pg_catalog.unnest($1) k(room_id)
    WHERE EXISTS (SELECT FROM %S.current_state_events a WHERE a.room_id %= k.room_id))";

}  // namespace

MembershipFacts::MembershipFacts(const HomeserverSchema& s, Redactions& redacted,
                                 DerivedTable<MembershipSnapshots>& snapshots)
    : redacted_(redacted), snapshots_(snapshots),
      rooms_("rooms", s, table_name(BaseTable::rooms), {{"room_id", TEXTOID}}, {}),
      memberships_("memberships", s, table_name(BaseTable::local_current_membership), membership_key,
                   {"event_id", "membership"}),
      memberships_of_room_("memberships_in_room", s, table_name(BaseTable::local_current_membership),
                           {{"room_id", TEXTOID}}, {"user_id", "event_id", "membership"}),
      events_("membership_events", s, table_name(BaseTable::events), {{"event_id", TEXTOID}},
              event_column::names),
      room_memberships_("room_memberships", s, table_name(BaseTable::room_memberships),
                        {{"event_id", TEXTOID}}, {"user_id", "sender", "forgotten"}),
      current_state_("membership_in_current_state", s, table_name(BaseTable::current_state_events),
                     {{"room_id", TEXTOID}, {"type", TEXTOID}, {"state_key", TEXTOID}}, {"event_id"}),
      json_("membership_json", s, table_name(BaseTable::event_json), {{"event_id", TEXTOID}},
            {"json", "internal_metadata"}),
      rooms_with_state_("rooms_with_state", sql_text(rooms_with_state_sql, s.name), {TEXTARRAYOID}),
      been_in_state_("been_in_state", sql_text(been_in_state_text(s), s.name), {TEXTARRAYOID}),
      earlier_invites_("earlier_invites", sql_text(earlier_invites_text(), s.name),
                       {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID}) {}

// Asked only where a membership does not stand in current state itself.
void MembershipFacts::read_rooms_with_state(RefreshScope& scope,
                                            std::vector<rules::MembershipFacts>& memberships) {
    std::set<std::string_view> asked;
    for (const rules::MembershipFacts& facts : memberships) {
        if (!facts.event_id.empty() && !facts.in_current_state &&
            !scope.has_current_state.contains(facts.room_id)) {
            asked.insert(facts.room_id);
        }
    }
    if (!asked.empty()) {
        const std::vector<std::string_view> room_ids(asked.begin(), asked.end());
        const auto found = first_column(rooms_with_state_.run(Arguments().texts(room_ids)));
        const std::set<std::string_view> with_state(found.begin(), found.end());
        for (const std::string_view room_id : room_ids) {
            scope.has_current_state.emplace(room_id, with_state.contains(room_id));
        }
    }
    for (rules::MembershipFacts& facts : memberships) {
        const auto found = scope.has_current_state.find(facts.room_id);
        facts.room_has_current_state =
            facts.in_current_state || (found != scope.has_current_state.end() && found->second);
    }
}

std::vector<rules::MembershipFacts>
MembershipFacts::facts(std::span<const MembershipKey> keys,
                       std::span<const Stored<MembershipSnapshots>> stored, RefreshScope& refresh,
                       rules::RefreshMode mode) {
    std::vector<rules::MembershipFacts> result(keys.size());
    {
        LookupScope scope;
        for (std::size_t i = 0; i < keys.size(); ++i) {
            rules::MembershipFacts& facts = result[i];
            facts.mode = mode;
            facts.room_id = keys[i].room_id;
            facts.user_id = keys[i].user_id;
            facts.in_rooms = i > 0 && keys[i].room_id == keys[i - 1].room_id
                                 ? result[i - 1].in_rooms
                                 : rooms_.find(scope, {keys[i].room_id}).count > 0;
        }
        read_memberships(scope, result);
        for (rules::MembershipFacts& facts : result) {
            if (!facts.event_id.empty()) {
                read_event(scope, facts);
            }
        }
        read_details(scope, result);
    }
    if (mode == rules::RefreshMode::live) {
        read_rooms_with_state(refresh, result);
        read_before(keys, stored, refresh.before, result);
    } else {
        for (std::size_t i = 0; i < keys.size(); ++i) {
            result[i].previous = stored[i].row;
        }
        read_been_in_state(result);
    }
    return result;
}

// Most of what a room has is asked for at once where whole rooms are looked at: it is read in one scan. That
// ends where it finds more than was asked for: the pass may begin or end within the room.
MembershipFacts::InRoom MembershipFacts::read_room(LookupScope& scope, std::string_view room_id,
                                                   std::size_t asked) {
    constexpr std::size_t more = 3;
    InRoom found;
    if (const auto rows = memberships_of_room_.find_by_index(scope, {room_id}, asked + more)) {
        for (std::size_t i = 0; i < rows->count; ++i) {
            found.emplace((*rows)[i][0].text(), (*rows)[i].subspan(1));
        }
    }
    return found;
}

void MembershipFacts::read_memberships(LookupScope& scope, std::span<rules::MembershipFacts> memberships) {
    constexpr std::size_t few = 3;
    for (auto rest = memberships; !rest.empty();) {
        const auto next = std::find_if(rest.begin(), rest.end(), [&](const rules::MembershipFacts& facts) {
            return facts.room_id != rest.front().room_id;
        });
        const auto of_room = rest.first(static_cast<std::size_t>(next - rest.begin()));
        rest = rest.subspan(of_room.size());
        const bool is_worth_it = of_room.size() > few && of_room.front().mode != rules::RefreshMode::live;
        const InRoom in_room =
            is_worth_it ? read_room(scope, of_room.front().room_id, of_room.size()) : InRoom();
        for (rules::MembershipFacts& facts : of_room) {
            const auto found = in_room.find(facts.user_id);
            if (found != in_room.end()) {
                facts.event_id = found->second[0].text();
                facts.membership = found->second[1].text();
            } else if (const Rows rows = memberships_.find(scope, {facts.room_id, facts.user_id});
                       rows.count > 0) {
                facts.event_id = rows[0][0].text();
                facts.membership = rows[0][1].text();
            }
        }
    }
}

// What the tables tell of the membership's event.
void MembershipFacts::read_event(LookupScope& scope, rules::MembershipFacts& facts) {
    std::optional<std::string_view> user_id;
    if (const Rows rows = room_memberships_.find(scope, {facts.event_id}); rows.count > 0) {
        const auto row = rows[0];
        user_id = row[0].text();
        facts.room_memberships_sender = row[1].optional_text();
        // the row exists; its forgotten may be NULL (docs/rules.md#columns-of-a-membership)
        facts.forgotten = static_cast<std::int32_t>(row[2].optional_number().value_or(0));
    }
    if (const Rows rows = events_.find(scope, {facts.event_id}); rows.count > 0) {
        namespace column = event_column;
        const auto row = rows[0];
        const Cell& state_key = row[column::state_key];
        facts.event_stored =
            rules::is_its_event(facts, row[column::room_id].text(), row[column::type].text(),
                                state_key.is_null ? std::nullopt : std::optional(state_key.text()), user_id);
        facts.stream_ordering = row[column::stream_ordering].optional_number();
        facts.sender = row[column::sender].optional_text();
        facts.instance_name = row[column::instance_name].optional_text();
        facts.outlier = row[column::outlier].boolean();
    }
    facts.in_current_state = stands_in_current_state(
        current_state_.find(scope, {facts.room_id, "m.room.member", facts.user_id}), facts.event_id);
}

// The event itself is read only where it tells more.
void MembershipFacts::read_details(LookupScope& scope, std::span<rules::MembershipFacts> memberships) {
    RedactionFilter filter(redacted_, scope);
    std::vector<RedactionCandidate> candidates;
    std::vector<std::size_t> to_check;
    for (std::size_t i = 0; i < memberships.size(); ++i) {
        rules::MembershipFacts& facts = memberships[i];
        if (!rules::tells_more(facts)) {
            continue;
        }
        std::string_view json;
        if (const Rows rows = json_.find(scope, {facts.event_id}); rows.count > 0) {
            json = rows[0][0].text();
            facts.json = json;
            facts.internal_metadata = rows[0][1].text();
        }
        if (filter.needed_check(facts.event_id, facts.room_id) != RedactionCheck::none) {
            candidates.push_back(
                {facts.event_id, facts.room_id,
                 facts.sender ? std::optional<std::string_view>(*facts.sender) : std::nullopt, json,
                 facts.stream_ordering});
            to_check.push_back(i);
        }
    }
    const std::vector<bool> are_redacted = redacted_.of(candidates);
    for (std::size_t i = 0; i < to_check.size(); ++i) {
        memberships[to_check[i]].redacted = are_redacted[i];
    }
}

// Not asked while a homeserver waits.
void MembershipFacts::read_been_in_state(std::vector<rules::MembershipFacts>& memberships) {
    std::vector<std::string_view> asked;
    for (const rules::MembershipFacts& facts : memberships) {
        if (rules::may_be_from_outside(facts)) {
            asked.push_back(facts.event_id);
        }
    }
    if (asked.empty()) {
        return;
    }
    const auto found = first_column(been_in_state_.run(Arguments().texts(asked)));
    const std::set<std::string_view> in_state(found.begin(), found.end());
    for (rules::MembershipFacts& facts : memberships) {
        facts.may_have_been_in_state = in_state.contains(facts.event_id);
    }
}

// What stood there before this transaction. In the usual case the changed row has told, and the snapshot is
// untouched.
void MembershipFacts::read_before(std::span<const MembershipKey> keys,
                                  std::span<const Stored<MembershipSnapshots>> stored,
                                  const MembershipsBefore& before,
                                  std::vector<rules::MembershipFacts>& memberships) {
    std::vector<MembershipKey> unknown;
    std::vector<std::size_t> positions;
    for (std::size_t i = 0; i < keys.size(); ++i) {
        rules::MembershipFacts& facts = memberships[i];
        const auto& row = stored[i].row;
        const auto states = before.find(keys[i]);
        const bool had_membership = states != before.end() && !states->second.empty();
        const bool is_untouched = row ? !stored[i].written_by_this_transaction : !had_membership;
        const bool is_same = (had_membership && states->second == facts.event_id) ||
                             (row && row->membership_event_id == facts.event_id);
        if (states != before.end() && is_untouched && !is_same) {
            facts.previous = row;
        } else {
            unknown.push_back(keys[i]);
            positions.push_back(i);
        }
    }
    if (unknown.empty()) {
        return;
    }
    LookupScope scope(SnapshotKind::before_transaction);
    for (std::size_t i = 0; i < unknown.size(); ++i) {
        const auto& [room_id, user_id] = unknown[i];
        rules::MembershipFacts& facts = memberships[positions[i]];
        facts.previous = snapshots_.find(scope, unknown[i]);
        const Rows membership = memberships_.find(scope, {room_id, user_id});
        const bool same_membership =
            (membership.count > 0 && membership[0][0].text() == facts.event_id) ||
            (facts.previous && facts.previous->membership_event_id == facts.event_id);
        const bool entered_current_state =
            facts.in_current_state &&
            !stands_in_current_state(current_state_.find(scope, {room_id, "m.room.member", user_id}),
                                     facts.event_id);
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
        namespace column = earlier_invite_column;
        const auto row = rows[i];
        EarlierInvite& invite = result[position(row[column::position])];
        invite.membership = row[column::membership].text();
        invite.json = row[column::json].text();
        const Cell& sender = row[column::sender];
        candidates.push_back({row[column::event_id].text(), row[column::room_id].text(),
                              sender.is_null ? std::nullopt : std::optional(sender.text()),
                              row[column::json].text(), row[column::stream_ordering].optional_number()});
    }
    const std::vector<bool> are_redacted = redacted_.of(candidates);
    for (std::size_t i = 0; i < rows.count; ++i) {
        result[position(rows[i][earlier_invite_column::position])].redacted = are_redacted[i];
    }
    return result;
}

}  // namespace sliding_sync
