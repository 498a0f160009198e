#include "derive/room_facts.hpp"

#include <unordered_set>

#include "server/row_lock.hpp"
#include "server/transaction.hpp"

extern "C" {
#include "catalog/pg_type.h"
}

namespace sliding_sync {

namespace {

const ParameterRows room_keys{"k", {{"room_id", TEXTOID}}};

}  // namespace

RoomFacts::RoomFacts(const HomeserverSchema& s, RedactionVerdicts& redacted)
    : state_events_(s, redacted), joined_rooms_shape_(s.joined_rooms),
      snapshots_shape_(s.membership_snapshots),
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
      rooms_("rooms", s, table_name(BaseTable::rooms), {{"room_id", TEXTOID}}, {}),
      joined_rooms_("joined_rooms", s, joined_rooms_table, {{"room_id", TEXTOID}},
                    {"xmin", "event_stream_ordering", "bump_stamp", "room_type", "room_name", "is_encrypted",
                     "tombstone_successor_room_id"}),
      orderings_("orderings",
                 "SELECT k.n, " + latest_ordering(s, "k.room_id") + ", " +
                     latest_bump_ordering(s, "k.room_id") + " FROM {rows}",
                 s.name, room_keys),
      current_state_("current_state", s, table_name(BaseTable::current_state_events),
                     {{"room_id", TEXTOID}, {"type", TEXTOID}, {"state_key", TEXTOID}}, {"event_id"}),
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
    Reading reading;
    for (std::size_t i = 0; i < room_ids.size(); ++i) {
        StoredRoom& room = result[i];
        room.in_rooms = rooms_.find(reading, {room_ids[i]}).count > 0;
        const Rows rows = joined_rooms_.find(reading, {room_ids[i]});
        if (rows.count == 0) {
            continue;
        }
        const auto row = rows[0];
        room.written_by_this_transaction =
            written_by_this_transaction(static_cast<std::uint32_t>(row[0].number));
        room.row = rules::JoinedRoom{
            std::string(room_ids[i]),
            row[1].number,
            row[2].optional_number(),
            {row[3].optional_text(), row[4].optional_text(), row[5].boolean(), row[6].optional_text()}};
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

std::vector<StateEventIds> RoomFacts::current_state_ids(Reading& reading,
                                                        std::span<const std::string_view> room_ids) {
    std::vector<StateEventIds> event_ids(room_ids.size());
    for (std::size_t i = 0; i < room_ids.size(); ++i) {
        for (std::size_t kind = 0; kind < rules::state_kind_count; ++kind) {
            const Rows rows =
                current_state_.find(reading, {room_ids[i], rules::relevant_state_types[kind], ""});
            if (rows.count > 0) {
                event_ids[i][kind] = rows[0][0].text();
            }
        }
    }
    return event_ids;
}

std::vector<rules::StateEvents> RoomFacts::current_state(std::span<const std::string_view> room_ids) {
    Reading reading;
    return read_events(reading, room_ids, current_state_ids(reading, room_ids));
}

std::vector<rules::StateEvents> RoomFacts::events(std::span<const std::string_view> room_ids,
                                                  std::span<const StateEventIds> event_ids) {
    Reading reading;
    return read_events(reading, room_ids, event_ids);
}

std::vector<rules::StateEvents> RoomFacts::read_events(Reading& reading,
                                                       std::span<const std::string_view> room_ids,
                                                       std::span<const StateEventIds> event_ids) {
    std::vector<StateEventKey> keys;
    std::vector<std::size_t> places;
    for (std::size_t i = 0; i < room_ids.size(); ++i) {
        for (std::size_t kind = 0; kind < rules::state_kind_count; ++kind) {
            if (!event_ids[i][kind].empty()) {
                keys.push_back({room_ids[i], static_cast<rules::StateKind>(kind), event_ids[i][kind]});
                places.push_back(i);
            }
        }
    }
    const auto events = state_events_.of(reading, keys);
    std::vector<rules::StateEvents> result(room_ids.size());
    for (std::size_t i = 0; i < keys.size(); ++i) {
        result[places[i]][static_cast<std::size_t>(keys[i].kind)] = events[i];
    }
    return result;
}

std::vector<rules::StateEvents> RoomFacts::wiped_state(std::span<const std::string_view> room_ids,
                                                       std::span<const std::optional<std::int64_t>> oldest) {
    std::vector<StateEventIds> found;
    {
        Reading before(View::before_transaction);
        found = current_state_ids(before, room_ids);
    }
    const auto take = [&](std::span<const Cell> row) {
        if (const auto kind = rules::state_kind(row[1].text())) {
            found[position(row[0])][static_cast<std::size_t>(*kind)] = row[2].text();
        }
    };
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
        Reading reading(view);
        const auto read = read_events(reading, room_ids, found);
        for (std::size_t room = 0; room < found.size(); ++room) {
            for (std::size_t kind = 0; kind < rules::state_kind_count; ++kind) {
                if (read[room][kind]) {
                    result[room][kind] = read[room][kind];
                    found[room][kind] = {};
                }
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
