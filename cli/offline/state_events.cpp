#include "cli/offline/state_events.hpp"

#include "rules/state_groups.hpp"

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
    const OptionalTables& tables = reader_.tables();
    const Rows rows =
        reader_.ask("SELECT e.event_id, e.room_id, e.type, e.sender, e.stream_ordering, " +
                        is_rejected(tables, "e") + " AS is_rejected, j.json, " + may_be_redacted(tables) +
                        " AS may_be_redacted FROM pg_catalog.unnest($1) k(event_id) "
                        "JOIN %S.events e ON e.event_id %= k.event_id AND e.type %= ANY (" +
                        relevant_types_array() + ") JOIN %S.event_json j ON j.event_id %= k.event_id",
                    {missing});
    std::vector<RedactionCandidate> candidates;
    std::vector<Stored*> to_check;
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
            to_check.push_back(&event);
        }
    }
    const std::vector<bool> are_redacted = reader_.redacted(candidates);
    for (std::size_t i = 0; i < to_check.size(); ++i) {
        to_check[i]->redacted = are_redacted[i];
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

using Group = rules::StateGroup<std::string>;
using Groups = std::map<std::int64_t, Group>;

Texts texts_of(const std::set<std::int64_t>& ids) {
    Texts texts;
    for (const std::int64_t id : ids) {
        texts.push_back(std::to_string(id));
    }
    return texts;
}

// What these groups hold themselves, and where they hang. A purge can leave the edge of a group behind: what
// then hangs on it must not be believed, so a group is one that has rows, or is looked up.
void read_groups(Reader& reader, const std::set<std::int64_t>& ids, Groups& groups) {
    const Parameters parameters{texts_of(ids)};
    const Rows rows =
        reader.ask("SELECT k.id, (SELECT pg_catalog.max(d.prev_state_group) FROM %S.state_group_edges d "
                   "WHERE d.state_group %= k.id), "
                   "EXISTS (SELECT FROM %S.state_groups g WHERE g.id %= k.id) OR (EXISTS (SELECT FROM "
                   "%S.state_group_edges d WHERE d.state_group %= k.id AND d.prev_state_group IS NOT NULL) "
                   "AND EXISTS (SELECT FROM %S.state_groups_state s WHERE s.state_group %= k.id)) "
                   "FROM pg_catalog.unnest($1::bigint[]) k(id)",
                   parameters);
    for (const auto& row : rows.values) {
        groups[std::stoll(*row[0])] = {
            optional_number(row[1]), {}, row[2] == "t" ? Group::Progress::open : Group::Progress::broken};
    }
    const Rows state = reader.ask("SELECT s.state_group, s.type, s.event_id FROM %S.state_groups_state s "
                                  "WHERE s.state_group %= ANY ($1::bigint[]) AND s.type %= ANY (" +
                                      relevant_types_array() + ") AND s.state_key %= ''",
                                  parameters);
    for (const auto& row : state.values) {
        Group& group = groups.at(std::stoll(*row[0]));
        group.progress = Group::Progress::open;
        group.state[static_cast<std::size_t>(*rules::state_kind(*row[1]))] = row[2].value_or("");
    }
}

// All chains at once, a step at a time.
Groups read_chains(Reader& reader, std::set<std::int64_t> open) {
    Groups groups;
    while (!open.empty()) {
        read_groups(reader, open, groups);
        std::set<std::int64_t> next;
        for (const std::int64_t id : open) {
            const Group& group = groups.at(id);
            if (group.previous && group.progress == Group::Progress::open &&
                groups.count(*group.previous) == 0) {
                next.insert(*group.previous);
            }
        }
        open = std::move(next);
    }
    return groups;
}

}  // namespace

std::vector<std::optional<StateEventIds>> state_after(Reader& reader, const Texts& event_ids) {
    std::vector<std::optional<StateEventIds>> result(event_ids.size());
    if (!reader.tables().has_state_groups || event_ids.empty()) {
        return result;
    }
    const Rows rows = reader.ask("SELECT k.n, g.state_group FROM pg_catalog.unnest($1) WITH ORDINALITY "
                                 "k(event_id, n) JOIN %S.event_to_state_groups g ON g.event_id %= k.event_id",
                                 {event_ids});
    std::set<std::int64_t> wanted;
    for (const auto& row : rows.values) {
        wanted.insert(std::stoll(*row[1]));
    }
    const Groups read = read_chains(reader, wanted);
    rules::StateGroups<std::string> groups;
    for (const auto& row : rows.values) {
        result[position(row[0])] = rules::whole_state(rules::complete_group(
            groups, std::stoll(*row[1]), [&](std::int64_t id, Group& group) { group = read.at(id); }));
    }
    return result;
}

}  // namespace sliding_sync::cli::offline
