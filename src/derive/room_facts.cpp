#include "derive/room_facts.hpp"

#include <unordered_set>

#include "server/row_lock.hpp"
#include "server/transaction.hpp"

extern "C" {
#include "catalog/pg_type.h"
}

namespace sliding_sync {

namespace {

std::string state_event_columns(const HomeserverSchema& schema) {
    return "k.n, e.type, e.event_id, e.room_id, e.sender, e.stream_ordering, " + is_rejected(schema, "e") +
           ", j.json, (e.type %<> 'm.room.create' AND " + may_be_redacted(schema, "e") + ")";
}

}  // namespace

RoomFacts::RoomFacts(const HomeserverSchema& s, RedactionVerdicts& redacted)
    : redacted_(redacted), joined_rooms_shape_(s.joined_rooms), snapshots_shape_(s.membership_snapshots),
      places_("lock_joined_rooms",
              sql_text("SELECT j.tableoid, j.ctid FROM %S.sliding_sync_joined_rooms j "
                       "WHERE j.room_id %= ANY ($1) ORDER BY j.room_id",
                       s.name),
              {TEXTARRAYOID}),
      lock_inputs_(
          "lock_room_inputs",
          // OFFSET 0: rows are locked as they come, so they must come in the order of the rooms
          sql_text("SELECT FROM (SELECT k.room_id FROM pg_catalog.unnest($1) k(room_id) WHERE NOT "
                   "EXISTS (SELECT FROM %S.sliding_sync_joined_rooms j WHERE j.room_id %= k.room_id) "
                   "OFFSET 0) k CROSS JOIN LATERAL (SELECT 1 FROM %S.current_state_events c "
                   "WHERE c.room_id %= k.room_id AND c.state_key %= '' AND c.type %= ANY (" +
                       relevant_types_array() + ") ORDER BY c.type LIMIT 1 FOR SHARE OF c) c",
                   s.name),
          {TEXTARRAYOID}),
      exist_("joined_rooms_exist",
             sql_text("SELECT EXISTS (SELECT FROM %S.sliding_sync_joined_rooms j WHERE j.room_id %= ANY "
                      "($1))",
                      s.name),
             {TEXTARRAYOID}),
      joined_rooms_("joined_rooms",
                    "SELECT k.n, r.room_id IS NOT NULL, j.xmin, j.event_stream_ordering, j.bump_stamp, "
                    "j.room_type, j.room_name, j.is_encrypted, j.tombstone_successor_room_id "
                    "FROM {rows} "
                    "LEFT JOIN %S.rooms r ON r.room_id %= k.room_id "
                    "LEFT JOIN %S.sliding_sync_joined_rooms j ON j.room_id %= k.room_id",
                    s.name, room_keys()),
      orderings_("orderings",
                 "SELECT k.n, " + latest_ordering(s, "k.room_id") + ", " +
                     latest_bump_ordering(s, "k.room_id") + " FROM {rows}",
                 s.name, room_keys()),
      current_state_(
          "current_state",
          // OFFSET 0 pins the order: from the four keys to their events, never through all events of the room

          "SELECT " + state_event_columns(s) +
              " FROM {rows} "
              "CROSS JOIN LATERAL (SELECT c.event_id, c.type, c.room_id FROM %S.current_state_events c "
              "WHERE c.room_id %= k.room_id AND c.state_key %= '' AND c.type %= ANY (" +
              relevant_types_array() +
              ") OFFSET 0) c CROSS JOIN LATERAL (SELECT * FROM %S.events e WHERE e.event_id %= "
              "c.event_id "
              "OFFSET 0) e JOIN %S.event_json j ON j.event_id %= c.event_id "
              "WHERE e.room_id %= c.room_id AND e.type %= c.type",
          s.name, room_keys()),
      current_state_ids_(
          "current_state_ids",
          sql_text("SELECT k.n, c.type, c.event_id "
                   "FROM pg_catalog.unnest($1) WITH ORDINALITY k(room_id, n) "
                   "JOIN %S.current_state_events c ON c.room_id %= k.room_id AND c.state_key %= '' "
                   "AND c.type %= ANY (" +
                       relevant_types_array() + ")",
                   s.name),
          {TEXTARRAYOID}),
      new_state_ids_("new_state_ids",
                     sql_text("SELECT k.n, e.type, e.event_id FROM ROWS FROM (pg_catalog.unnest($1), "
                              "pg_catalog.unnest($2)) WITH ORDINALITY k(room_id, oldest, n) "
                              "JOIN %S.events e ON e.room_id %= k.room_id AND e.stream_ordering %>= k.oldest "
                              "AND e.type %= ANY (" +
                                  relevant_types_array() +
                                  ") AND NOT e.outlier WHERE e.state_key %= '' AND NOT " +
                                  is_rejected(s, "e") + " ORDER BY e.stream_ordering",
                              s.name),
                     {TEXTARRAYOID, INT8ARRAYOID}),
      visible_before_("visible_before",
                      sql_text("SELECT e.event_id FROM %S.events e WHERE e.event_id %= ANY ($1)", s.name),
                      {TEXTARRAYOID}),
      state_events_by_id_(
          "state_events_by_id",
          sql_text("SELECT " + state_event_columns(s) +
                       " FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) k(event_id, n) "
                       "JOIN %S.events e ON e.event_id %= k.event_id "
                       "JOIN %S.event_json j ON j.event_id %= k.event_id",
                   s.name),
          {TEXTARRAYOID, INT8ARRAYOID}),
      joined_room_reference_(
          "joined_room_reference",
          sql_text("SELECT NOT EXISTS "
                   "(SELECT FROM %S.events e WHERE e.stream_ordering %= j.event_stream_ordering) "
                   "FROM %S.sliding_sync_joined_rooms j WHERE j.room_id %= $1",
                   s.name),
          {TEXTOID}),
      snapshot_reference_(
          "snapshot_reference",
          sql_text("SELECT EXISTS (SELECT FROM %S.sliding_sync_membership_snapshots m WHERE m.room_id %= $1)",
                   s.name),
          {TEXTOID}) {}

void RoomFacts::lock(std::span<const std::string_view> room_ids) {
    const Rows rows = places_.run(Arguments().texts(room_ids), View::latest);
    std::vector<RowPlace> places;
    for (std::size_t i = 0; i < rows.count; ++i) {
        places.push_back({rows[i][0].number, rows[i][1].number});
    }
    lock_newest_versions(places);
}

void RoomFacts::lock_inputs(std::span<const std::string_view> room_ids) {
    lock_inputs_.run(Arguments().texts(room_ids));
}

bool RoomFacts::exist_by_now(std::span<const std::string_view> room_ids) {
    return exist_.run(Arguments().texts(room_ids), View::latest)[0][0].boolean();
}

std::vector<StoredRoom> RoomFacts::joined_rooms(std::span<const std::string_view> room_ids) {
    std::vector<StoredRoom> result(room_ids.size());
    const Rows rows = joined_rooms_.run(Arguments(room_ids.size()).texts(room_ids));
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

std::vector<Orderings> RoomFacts::orderings(std::span<const std::string_view> room_ids) {
    std::vector<Orderings> result(room_ids.size());
    const Rows rows = orderings_.run(Arguments(room_ids.size()).texts(room_ids));
    for (std::size_t i = 0; i < rows.count; ++i) {
        const auto row = rows[i];
        result[position(row[0])] = {row[1].optional_number(), row[2].optional_number()};
    }
    return result;
}

// Rows of state_event_columns.
std::vector<RoomFacts::ReadEvent> RoomFacts::read_events(Rows rows) {
    std::vector<ReadEvent> result;
    std::vector<RedactionCandidate> candidates;
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < rows.count; ++i) {
        const auto row = rows[i];
        const auto kind = rules::state_kind(row[1].text());
        if (!kind) {
            continue;
        }
        if (row[8].boolean()) {
            candidates.push_back({row[2].text(), row[3].text(),
                                  row[4].is_null ? std::nullopt : std::optional(row[4].text()), row[7].text(),
                                  row[5].optional_number()});
            places.push_back(result.size());
        }
        result.push_back({position(row[0]), row[2].text(), row[3].text(), *kind,
                          rules::StateEvent{row[7].text(), false, row[6].boolean()}});
    }
    const std::vector<bool> verdicts = redacted_.of(candidates);
    for (std::size_t i = 0; i < places.size(); ++i) {
        result[places[i]].event.redacted = verdicts[i];
    }
    return result;
}

std::vector<rules::StateEvents> RoomFacts::current_state(std::span<const std::string_view> room_ids) {
    std::vector<rules::StateEvents> result(room_ids.size());
    for (const ReadEvent& read :
         read_events(current_state_.run(Arguments(room_ids.size()).texts(room_ids)))) {
        result[read.position][static_cast<std::size_t>(read.kind)] = read.event;
    }
    return result;
}

std::vector<rules::StateEvents> RoomFacts::events(std::span<const std::string_view> room_ids,
                                                  std::span<const StateEventIds> event_ids) {
    // memberships of one room share most of their state: each event is read once
    std::vector<std::string_view> distinct;
    for (const StateEventIds& ids : event_ids) {
        std::copy_if(ids.begin(), ids.end(), std::back_inserter(distinct),
                     [](std::string_view id) { return !id.empty(); });
    }
    std::sort(distinct.begin(), distinct.end());
    distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
    const std::vector<std::optional<std::int64_t>> positions(distinct.size(), 1);
    std::unordered_map<std::string_view, ReadEvent> found;
    if (!distinct.empty()) {
        for (const ReadEvent& read :
             read_events(state_events_by_id_.run(Arguments().texts(distinct).numbers(positions)))) {
            found.emplace(read.event_id, read);
        }
    }
    std::vector<rules::StateEvents> result(room_ids.size());
    for (std::size_t i = 0; i < room_ids.size(); ++i) {
        for (std::size_t kind = 0; kind < rules::state_kind_count; ++kind) {
            const auto read = found.find(event_ids[i][kind]);
            if (read != found.end() && read->second.room_id == room_ids[i] &&
                read->second.kind == static_cast<rules::StateKind>(kind)) {
                result[i][kind] = read->second.event;
            }
        }
    }
    return result;
}

std::vector<rules::StateEvents> RoomFacts::wiped_state(std::span<const std::string_view> room_ids,
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
    // The events are read as a reader sees them now, redactions of this very transaction included; one that it has
    // deleted as it stood before.
    std::vector<rules::StateEvents> result(room_ids.size());
    for (const View view : {View::current, View::before_transaction}) {
        std::vector<std::string_view> event_ids;
        std::vector<std::optional<std::int64_t>> positions;
        for (std::size_t room = 0; room < found.size(); ++room) {
            for (std::size_t kind = 0; kind < rules::state_kind_count; ++kind) {
                if (!found[room][kind].empty() && !result[room][kind]) {
                    event_ids.push_back(found[room][kind]);
                    positions.emplace_back(static_cast<std::int64_t>(room + 1));
                }
            }
        }
        if (event_ids.empty()) {
            break;
        }
        const Rows rows = state_events_by_id_.run(Arguments().texts(event_ids).numbers(positions), view);
        for (const ReadEvent& read : read_events(rows)) {
            const std::size_t kind = static_cast<std::size_t>(read.kind);
            if (read.room_id == room_ids[read.position] && read.event_id == found[read.position][kind]) {
                result[read.position][kind] = read.event;
            }
        }
    }
    return result;
}

RoomFacts::References RoomFacts::references(std::string_view room_id) {
    // a table of another shape cannot be asked: it is taken to refer to everything
    References found{joined_rooms_shape_ != TableShape::missing, false,
                     snapshots_shape_ != TableShape::missing};
    if (joined_rooms_shape_ == TableShape::known) {
        const Rows rows = joined_room_reference_.run(Arguments().text(room_id), View::latest);
        found.no_joined_room = rows.count == 0;
        found.joined_room = rows.count > 0 && rows[0][0].boolean();
    }
    if (snapshots_shape_ == TableShape::known) {
        found.snapshots = snapshot_reference_.run(Arguments().text(room_id))[0][0].boolean();
    }
    return found;
}

bool RoomFacts::has_rows_by_now(std::string_view room_id) {
    return (joined_rooms_shape_ == TableShape::known && exist_by_now({&room_id, 1})) ||
           (snapshots_shape_ == TableShape::known &&
            snapshot_reference_.run(Arguments().text(room_id), View::latest)[0][0].boolean());
}

}  // namespace sliding_sync
