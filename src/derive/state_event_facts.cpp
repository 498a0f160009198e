#include "derive/state_event_facts.hpp"

extern "C" {
#include "catalog/pg_type.h"
}

namespace sliding_sync {

namespace {

bool has_value_of(const rules::RoomState& state, rules::StateKind kind) noexcept {
    switch (kind) {
    case rules::StateKind::create:
        return state.room_type.has_value();
    case rules::StateKind::encryption:
        return state.is_encrypted;
    case rules::StateKind::name:
        return state.room_name.has_value();
    case rules::StateKind::tombstone:
        return state.tombstone_successor_room_id.has_value();
    }
    return false;
}

namespace column {
enum Column : std::size_t { room_id, type, sender, stream_ordering, rejection_reason };
const std::vector<const char*> names{"room_id", "type", "sender", "stream_ordering", "rejection_reason"};
}  // namespace column

}  // namespace

struct StateEventFacts::StoredEvent {
    std::string_view room_id;
    rules::StateKind kind;
    RedactionCandidate candidate;
    RedactionCheck check;
    rules::StateEvent event;
};

StateEventFacts::StateEventFacts(const HomeserverSchema& s, Redactions& redacted)
    : redacted_(redacted), has_rejections_(s.has_rejections),
      events_("state_events", s, table_name(BaseTable::events), {{"event_id", TEXTOID}}, column::names),
      rejections_("rejections", s, table_name(BaseTable::rejections), {{"event_id", TEXTOID}}, {}),
      json_("state_event_json", s, table_name(BaseTable::event_json), {{"event_id", TEXTOID}}, {"json"}) {}

std::optional<StateEventFacts::StoredEvent> StateEventFacts::read(LookupScope& scope, RedactionFilter& filter,
                                                                  std::string_view event_id) {
    const Rows events = events_.find(scope, {event_id});
    const auto kind = events.count > 0 ? rules::state_kind(events[0][column::type].text()) : std::nullopt;
    const Rows json = kind ? json_.find(scope, {event_id}) : Rows{};
    if (json.count == 0) {
        return std::nullopt;
    }
    const auto event = events[0];
    const std::string_view room_id = event[column::room_id].text();
    const std::string_view text = json[0][0].text();
    // as is_rejected (fact_sql.hpp) says it where events are looked for by their order
    const bool rejected = !event[column::rejection_reason].is_null ||
                          (has_rejections_ && rejections_.find(scope, {event_id}).count > 0);
    const Cell& sender = event[column::sender];
    return StoredEvent{room_id,
                       *kind,
                       {event_id, room_id, sender.is_null ? std::nullopt : std::optional(sender.text()), text,
                        event[column::stream_ordering].optional_number()},
                       *kind != rules::StateKind::create ? filter.needed_check(event_id, room_id)
                                                         : RedactionCheck::none,
                       {text, false, rejected}};
}

std::vector<std::optional<rules::StateEvent>>
StateEventFacts::of(LookupScope& scope, std::span<const StateEventKey> keys, const StateTold& told) {
    RedactionFilter filter(redacted_, scope);
    // memberships of one room share most of their state
    std::unordered_map<std::string_view, std::optional<StoredEvent>> stored;
    for (const StateEventKey& key : keys) {
        if (const auto [place, is_new] = stored.try_emplace(key.event_id); is_new) {
            place->second = read(scope, filter, key.event_id);
        }
    }
    std::vector<RedactionCandidate> candidates;
    std::vector<StoredEvent*> to_check;
    for (auto& [event_id, event] : stored) {
        if (!event || event->check == RedactionCheck::none) {
            continue;
        }
        const auto row =
            event->check == RedactionCheck::many && told ? told(scope, event->room_id) : std::nullopt;
        if (row) {
            event->event.redacted = !has_value_of(*row, event->kind);
        } else {
            candidates.push_back(event->candidate);
            to_check.push_back(&*event);
        }
    }
    const std::vector<bool> are_redacted = redacted_.of(candidates, scope.view());
    for (std::size_t i = 0; i < to_check.size(); ++i) {
        to_check[i]->event.redacted = are_redacted[i];
    }
    std::vector<std::optional<rules::StateEvent>> result(keys.size());
    for (std::size_t i = 0; i < keys.size(); ++i) {
        const auto& event = stored.at(keys[i].event_id);
        if (event && event->room_id == keys[i].room_id && event->kind == keys[i].kind) {
            result[i] = event->event;
        }
    }
    return result;
}

}  // namespace sliding_sync
