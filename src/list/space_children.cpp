#include "list/space_children.hpp"

#include "pg/caller_query.hpp"
#include "rules/json.hpp"
#include "rules/list_filters.hpp"
#include "rules/redaction.hpp"
#include "shared/fact_sql.hpp"
#include "shared/sql_text.hpp"

extern "C" {
#include "catalog/pg_type_d.h"
}

namespace sliding_sync {

namespace {

struct Child {
    std::string room_id;
    std::string event_id;
    std::string space_id;
    std::string sender;
    std::string own_room_id;  ///< as the event itself says, by which a reader looks bans up (H91)
    std::string own_sender;
    std::optional<std::int64_t> stream_ordering;
    std::vector<rules::Redaction> redactions;
    std::vector<rules::BanRedaction> bans;
};

/// What redaction events say, while they are judged.
using Facts = std::vector<std::unique_ptr<std::string>>;

std::string_view keep(Facts& facts, std::string text) {
    return *facts.emplace_back(std::make_unique<std::string>(std::move(text)));
}

std::string own_value(std::string_view json, std::string_view key, std::string_view otherwise) {
    return rules::top_level_value(json, key).column().value_or(std::string(otherwise));
}

std::vector<Child> named_children(const ListTables& tables, const std::string& user_id,
                                  std::span<const std::optional<std::string_view>> spaces) {
    const Rows rows = caller_query(sql_text(R"(
                SELECT c.state_key, c.event_id, c.room_id, e.sender, e.stream_ordering, d.json
                FROM pg_catalog.unnest($2) s (room_id)
                JOIN %S.sliding_sync_membership_snapshots m ON m.room_id %= s.room_id
                    AND m.user_id %= $1 AND m.membership %= 'join'
                JOIN %S.current_state_events c ON c.room_id %= s.room_id
                    AND c.type %= 'm.space.child' AND c.state_key %<> c.room_id
                JOIN %S.events e ON e.event_id %= c.event_id AND NOT )" +
                                                is_rejected(tables, "e") + R"(
                JOIN %S.event_json d ON d.event_id %= c.event_id)",
                                            tables.schema),
                                   {TEXTOID, TEXTARRAYOID})
                          ->run(Arguments().text(user_id).texts(spaces));
    enum Column : std::size_t { state_key, event_id, room_id, sender, stream_ordering, json_text };
    std::vector<Child> children;
    for (std::size_t i = 0; i < rows.count; ++i) {
        const auto row = rows[i];
        const std::string_view json = row[json_text].text();
        if (!rules::names_a_server(json)) {
            continue;
        }
        Child& child = children.emplace_back();
        child.room_id = row[state_key].text();
        child.event_id = row[event_id].text();
        child.space_id = row[room_id].text();
        child.own_room_id = own_value(json, "room_id", child.space_id);
        child.own_sender = own_value(json, "sender", row[sender].is_null ? "" : row[sender].text());
        child.sender = row[sender].is_null ? child.own_sender : row[sender].text();
        child.stream_ordering = row[stream_ordering].optional_number();
    }
    return children;
}

rules::RedactionEvent redaction_event(std::span<const Cell> row, Facts& facts) {
    namespace column = redaction_column;
    const std::string_view json = keep(facts, std::string(row[column::json].text()));
    const Cell& sender = row[column::sender];
    return {row[column::is_stored].boolean(),
            row[column::is_rejected].boolean(),
            row[column::is_of_same_room].boolean(),
            keep(facts, sender.is_null ? own_value(json, "sender", "") : std::string(sender.text())),
            json,
            keep(facts, std::string(row[column::internal_metadata].text()))};
}

void read_redactions(const ListTables& tables, std::vector<Child>& children, Facts& facts) {
    std::vector<std::string_view> event_ids;
    std::vector<std::string_view> rooms;
    std::vector<std::string_view> own_rooms;
    std::vector<std::string_view> own_senders;
    for (const Child& child : children) {
        event_ids.push_back(child.event_id);
        rooms.push_back(child.space_id);
        own_rooms.push_back(child.own_room_id);
        own_senders.push_back(child.own_sender);
    }
    const auto child_of = [&](std::span<const Cell> row) -> Child& {
        return children[static_cast<std::size_t>(row[redaction_column::position].number - 1)];
    };
    const Rows redactions =
        caller_query(sql_text(redactions_text(tables, RedactionJson::of_all), tables.schema),
                     {TEXTARRAYOID, TEXTARRAYOID})
            ->run(Arguments().texts(event_ids).texts(rooms));
    for (std::size_t i = 0; i < redactions.count; ++i) {
        const auto row = redactions[i];
        child_of(row).redactions.push_back(
            {row[redaction_column::recheck].boolean(), redaction_event(row, facts)});
    }
    if (!tables.has_ban_redactions) {
        return;
    }
    const Rows bans = caller_query(sql_text(ban_redactions_text(tables), tables.schema),
                                   {TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID})
                          ->run(Arguments().texts(own_rooms).texts(own_senders).texts(rooms));
    for (std::size_t i = 0; i < bans.count; ++i) {
        const auto row = bans[i];
        child_of(row).bans.push_back(
            {row[redaction_column::redact_end_ordering].optional_number(), redaction_event(row, facts)});
    }
}

}  // namespace

std::vector<std::string> space_children(const ListTables& tables, const std::string& user_id,
                                        std::span<const std::optional<std::string_view>> spaces) {
    std::vector<const char*> names{"current_state_events", "events", "event_json", "redactions"};
    if (tables.has_rejections) {
        names.push_back("rejections");
    }
    if (tables.has_ban_redactions) {
        names.push_back("room_ban_redactions");
    }
    require_select(tables, names);
    std::vector<Child> children = named_children(tables, user_id, spaces);
    Facts facts;
    if (!children.empty()) {
        read_redactions(tables, children, facts);
    }
    std::vector<std::string> rooms;
    for (const Child& child : children) {
        if (!rules::is_redacted({child.sender, child.stream_ordering}, child.redactions, child.bans)) {
            rooms.push_back(child.room_id);
        }
    }
    return rooms;
}

}  // namespace sliding_sync
