#include "derive/room_facts.hpp"

#include <unordered_set>

#include "rules/json.hpp"

extern "C" {
#include "catalog/pg_type.h"
}

namespace sliding_sync {

namespace {

const ParameterRows room_keys{"k", {{"room_id", TEXTOID}}};

namespace new_state_column {
enum Column : std::size_t { position, type, event_id, internal_metadata };
}

std::string new_state_ids_sql(const HomeserverSchema& s) {
    return R"(
        SELECT k.n, e.type, e.event_id, j.internal_metadata
        FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH ORDINALITY k(room_id, oldest, n)
        JOIN %S.events e ON e.room_id %= k.room_id AND e.stream_ordering %>= k.oldest
            AND e.type %= ANY ()" +
           relevant_types_array() + R"() AND NOT e.outlier
        LEFT JOIN %S.event_json j ON j.event_id %= e.event_id
        WHERE e.state_key %= '' AND NOT )" +
           is_rejected(s, "e") + R"(
        ORDER BY e.stream_ordering)";
}

constexpr std::string_view visible_before_sql = R"(
    SELECT e.event_id
    FROM %S.events e
    WHERE e.event_id %= ANY ($1))";

}  // namespace

RoomFacts::RoomFacts(const HomeserverSchema& s, Redactions& redacted, DerivedTable<JoinedRooms>& rows)
    : has_rows_(s.joined_rooms == TableShape::known), has_rejections_(s.has_rejections), rows_(rows),
      state_events_(s, redacted),
      rooms_("rooms", s, table_name(BaseTable::rooms), {{"room_id", TEXTOID}}, {}),
      rejections_("rejections_of_hints", s, table_name(BaseTable::rejections), {{"event_id", TEXTOID}}, {}),
      orderings_("orderings", orderings_text(s), s.name, room_keys),
      current_state_("current_state", s, table_name(BaseTable::current_state_events),
                     {{"room_id", TEXTOID}, {"type", TEXTOID}, {"state_key", TEXTOID}}, {"event_id"}),
      new_state_ids_("new_state_ids", sql_text(new_state_ids_sql(s), s.name), {TEXTARRAYOID, INT8ARRAYOID}),
      visible_before_("visible_before", sql_text(visible_before_sql, s.name), {TEXTARRAYOID}) {}

std::vector<bool> RoomFacts::in_rooms(std::span<const std::string_view> room_ids) {
    std::vector<bool> result;
    LookupScope scope;
    for (const std::string_view room_id : room_ids) {
        result.push_back(rooms_.find(scope, {room_id}).count > 0);
    }
    return result;
}

std::vector<bool> RoomFacts::are_rejected(std::span<const std::string_view> event_ids) {
    std::vector<bool> result;
    LookupScope scope;
    for (const std::string_view event_id : event_ids) {
        result.push_back(has_rejections_ && !event_id.empty() &&
                         rejections_.find(scope, {event_id}).count > 0);
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

std::vector<StateEventIds> RoomFacts::current_state_ids(LookupScope& scope,
                                                        std::span<const std::string_view> room_ids) {
    std::vector<StateEventIds> event_ids(room_ids.size());
    for (std::size_t i = 0; i < room_ids.size(); ++i) {
        for (std::size_t kind = 0; kind < rules::state_kind_count; ++kind) {
            const Rows rows =
                current_state_.find(scope, {room_ids[i], rules::relevant_state_types[kind], ""});
            if (rows.count > 0) {
                event_ids[i][kind] = rows[0][0].text();
            }
        }
    }
    return event_ids;
}

std::vector<rules::StateEvents> RoomFacts::current_state(std::span<const std::string_view> room_ids) {
    LookupScope scope;
    return read_events(scope, room_ids, current_state_ids(scope, room_ids));
}

std::vector<rules::StateEvents> RoomFacts::current_state_by_rows(std::span<const std::string_view> room_ids) {
    LookupScope scope;
    const StateTold told = [&](LookupScope& reading, std::string_view room_id) {
        const auto row = has_rows_ ? rows_.find(reading, room_id) : std::nullopt;
        return row ? std::optional(row->state) : std::nullopt;
    };
    return read_events(scope, room_ids, current_state_ids(scope, room_ids), told);
}

std::vector<rules::StateEvents> RoomFacts::events(std::span<const std::string_view> room_ids,
                                                  std::span<const StateEventIds> event_ids) {
    LookupScope scope;
    return read_events(scope, room_ids, event_ids);
}

std::vector<rules::StateEvents> RoomFacts::read_events(LookupScope& scope,
                                                       std::span<const std::string_view> room_ids,
                                                       std::span<const StateEventIds> event_ids,
                                                       const StateTold& told) {
    std::vector<StateEventKey> keys;
    std::vector<std::size_t> positions;
    for (std::size_t i = 0; i < room_ids.size(); ++i) {
        for (std::size_t kind = 0; kind < rules::state_kind_count; ++kind) {
            if (!event_ids[i][kind].empty()) {
                keys.push_back({room_ids[i], static_cast<rules::StateKind>(kind), event_ids[i][kind]});
                positions.push_back(i);
            }
        }
    }
    const auto events = state_events_.of(scope, keys, told);
    std::vector<rules::StateEvents> result(room_ids.size());
    for (std::size_t i = 0; i < keys.size(); ++i) {
        result[positions[i]][static_cast<std::size_t>(keys[i].kind)] = events[i];
    }
    return result;
}

std::vector<rules::StateEvents> RoomFacts::wiped_state(std::span<const std::string_view> room_ids,
                                                       std::span<const std::optional<std::int64_t>> oldest) {
    std::vector<StateEventIds> found;
    {
        LookupScope before(SnapshotKind::before_transaction);
        found = current_state_ids(before, room_ids);
    }
    namespace column = new_state_column;
    const auto take = [&](std::span<const Cell> row) {
        if (const auto kind = rules::state_kind(row[column::type].text())) {
            found[position(row[column::position])][static_cast<std::size_t>(*kind)] =
                row[column::event_id].text();
        }
    };
    // A soft-failed event never stood in the state of the room.
    const auto is_soft_failed = [](std::span<const Cell> row) {
        const Cell& metadata = row[column::internal_metadata];
        return !metadata.is_null && rules::read_internal_metadata(metadata.text()).soft_failed;
    };
    const Rows newer = new_state_ids_.run(Arguments().texts(room_ids).numbers(oldest));
    std::vector<std::string_view> newer_ids;
    for (std::size_t i = 0; i < newer.count; ++i) {
        newer_ids.push_back(newer[i][column::event_id].text());
    }
    const auto old_ids =
        first_column(visible_before_.run(Arguments().texts(newer_ids), SnapshotKind::before_transaction));
    const std::unordered_set<std::string_view> old(old_ids.begin(), old_ids.end());
    for (std::size_t i = 0; i < newer.count; ++i) {
        if (!old.contains(newer_ids[i]) && !is_soft_failed(newer[i])) {
            take(newer[i]);
        }
    }
    return wiped_events(room_ids, std::move(found));
}

std::vector<rules::StateEvents> RoomFacts::wiped_events(std::span<const std::string_view> room_ids,
                                                        std::vector<StateEventIds> event_ids) {
    std::vector<rules::StateEvents> result(room_ids.size());
    for (const SnapshotKind view : {SnapshotKind::current, SnapshotKind::before_transaction}) {
        LookupScope scope(view);
        const auto read = read_events(scope, room_ids, event_ids);
        for (std::size_t room = 0; room < event_ids.size(); ++room) {
            for (std::size_t kind = 0; kind < rules::state_kind_count; ++kind) {
                if (read[room][kind]) {
                    result[room][kind] = read[room][kind];
                    event_ids[room][kind] = {};
                }
            }
        }
    }
    return result;
}

}  // namespace sliding_sync
