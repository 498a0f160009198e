#include "cli/offline/state_events.hpp"

#include <fmt/format.h>

namespace sliding_sync::cli::offline {

void StateEventReader::read(const std::vector<StateEventIds>& all) {
    Texts missing;
    for (const StateEventIds& ids : all) {
        for (const std::string& id : ids) {
            if (!id.empty() && events_.try_emplace(id).second) {
                missing.push_back(id);
            }
        }
    }
    if (missing.empty()) {
        return;
    }
    const Homeserver& homeserver = reader_.homeserver();
    const Rows rows = reader_.ask(fmt::format(
        "SELECT e.event_id, e.room_id, e.type, e.sender, e.stream_ordering, {} AS is_rejected, j.json, {} AS "
        "may_be_redacted FROM unnest({}) k(event_id) JOIN {} e ON e.event_id = k.event_id AND e.type = ANY "
        "({}) "
        "JOIN {} j ON j.event_id = k.event_id",
        reader_.is_rejected(), reader_.may_be_redacted(), sql_array(missing), homeserver.table("events"),
        relevant_types(), homeserver.table("event_json")));
    std::vector<RedactionCandidate> candidates;
    std::vector<Stored*> doubtful;
    for (std::size_t i = 0; i < rows.values.size(); ++i) {
        const std::string id = *rows.at(i, "event_id");
        Stored& event = events_[id].emplace();
        event.room_id = *rows.at(i, "room_id");
        event.kind = *rules::state_kind(*rows.at(i, "type"));
        event.json = rows.at(i, "json").value_or("");
        event.rejected = rows.at(i, "is_rejected") == "t";
        if (event.kind != rules::StateKind::create && rows.at(i, "may_be_redacted") == "t") {
            candidates.push_back({id, event.room_id, rows.at(i, "sender"), event.json,
                                  optional_number(rows.at(i, "stream_ordering"))});
            doubtful.push_back(&event);
        }
    }
    const std::vector<bool> verdicts = reader_.redacted(candidates);
    for (std::size_t i = 0; i < doubtful.size(); ++i) {
        doubtful[i]->redacted = verdicts[i];
    }
}

rules::StateEvents StateEventReader::of(const std::string& room_id, const StateEventIds& ids) const {
    rules::StateEvents found;
    for (std::size_t kind = 0; kind < rules::state_kind_count; ++kind) {
        const auto event = events_.find(ids[kind]);
        if (event != events_.end() && event->second && event->second->room_id == room_id &&
            event->second->kind == static_cast<rules::StateKind>(kind)) {
            found[kind] =
                rules::StateEvent{event->second->json, event->second->redacted, event->second->rejected};
        }
    }
    return found;
}

namespace {

struct Group {
    std::optional<std::int64_t> previous;
    bool is_there = false;
    StateEventIds state;
};

using Groups = std::map<std::int64_t, Group>;

// What these groups hold themselves, and where they hang.
void read_groups(Reader& reader, const std::set<std::int64_t>& ids, Groups& groups) {
    const Homeserver& homeserver = reader.homeserver();
    const std::string list = fmt::format("'{{{}}}'::bigint[]", fmt::join(ids, ","));
    const Rows rows = reader.ask(fmt::format(
        "SELECT k.id, (SELECT max(d.prev_state_group) FROM {1} d WHERE d.state_group = k.id) AS previous, "
        "EXISTS (SELECT FROM {0} g WHERE g.id = k.id) OR (EXISTS (SELECT FROM {1} d WHERE d.state_group = "
        "k.id "
        "AND d.prev_state_group IS NOT NULL) AND EXISTS (SELECT FROM {2} s WHERE s.state_group = k.id)) AS "
        "is_there "
        "FROM unnest({3}) k(id)",
        homeserver.table("state_groups"), homeserver.table("state_group_edges"),
        homeserver.table("state_groups_state"), list));
    for (const auto& row : rows.values) {
        groups[std::stoll(*row[0])] = {optional_number(row[1]), row[2] == "t", {}};
    }
    const Rows state =
        reader.ask(fmt::format("SELECT s.state_group, s.type, s.event_id FROM {} s WHERE s.state_group "
                               "= ANY ({}) AND s.type = ANY ({}) AND s.state_key = ''",
                               homeserver.table("state_groups_state"), list, relevant_types()));
    for (const auto& row : state.values) {
        Group& group = groups.at(std::stoll(*row[0]));
        group.is_there = true;
        group.state[static_cast<std::size_t>(*rules::state_kind(*row[1]))] = *row[2];
    }
}

void read_chains(Reader& reader, std::set<std::int64_t> open, Groups& groups) {
    while (!open.empty()) {
        read_groups(reader, open, groups);
        std::set<std::int64_t> next;
        for (const std::int64_t id : open) {
            const Group& group = groups.at(id);
            if (group.previous && group.is_there && groups.count(*group.previous) == 0) {
                next.insert(*group.previous);
            }
        }
        open = std::move(next);
    }
}

// Nothing where the chain is broken, or bites its own tail.
std::optional<StateEventIds> whole_state(const Groups& groups, std::int64_t id) {
    StateEventIds state;
    std::set<std::int64_t> seen;
    for (std::optional<std::int64_t> at = id; at; at = groups.at(*at).previous) {
        const Group& group = groups.at(*at);
        if (!group.is_there || !seen.insert(*at).second) {
            return std::nullopt;
        }
        for (std::size_t kind = 0; kind < rules::state_kind_count; ++kind) {
            if (state[kind].empty()) {
                state[kind] = group.state[kind];
            }
        }
    }
    const bool has_create = !state[static_cast<std::size_t>(rules::StateKind::create)].empty();
    return has_create ? std::optional(state) : std::nullopt;
}

}  // namespace

std::vector<std::optional<StateEventIds>> state_after(Reader& reader, const Texts& event_ids) {
    std::vector<std::optional<StateEventIds>> result(event_ids.size());
    if (!reader.homeserver().has_state_groups || event_ids.empty()) {
        return result;
    }
    const Rows rows =
        reader.ask(fmt::format("SELECT k.n, g.state_group FROM unnest({}) WITH ORDINALITY k(event_id, n) "
                               "JOIN {} g ON g.event_id = k.event_id",
                               sql_array(event_ids), reader.homeserver().table("event_to_state_groups")));
    std::set<std::int64_t> wanted;
    for (const auto& row : rows.values) {
        wanted.insert(std::stoll(*row[1]));
    }
    Groups groups;
    read_chains(reader, wanted, groups);
    for (const auto& row : rows.values) {
        result[position(row[0])] = whole_state(groups, std::stoll(*row[1]));
    }
    return result;
}

}  // namespace sliding_sync::cli::offline
