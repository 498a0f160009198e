#include "live/collect.hpp"

#include "live/watched.hpp"

namespace sliding_sync {

namespace {

void truncated(PendingKeys& keys, BaseTable table) {
    switch (table) {
    case BaseTable::local_current_membership:
        keys.all_memberships = true;
        break;
    case BaseTable::room_memberships:
        break;  // what was forgotten stays known
    case BaseTable::events:
    case BaseTable::rooms:
        keys.all_memberships = true;
        keys.all_rooms = true;
        break;
    default:
        keys.all_rooms = true;
        break;
    }
}

}  // namespace

void collect(const TriggerData& trigger, BaseTable table) {
    PendingKeys& keys = pending_keys(RelationGetNamespace(trigger.tg_relation));
    if (TRIGGER_FIRED_BY_TRUNCATE(trigger.tg_event)) {
        truncated(keys, table);
        return;
    }
    switch (table) {
    case BaseTable::events:
        return collect_events(trigger, keys);
    case BaseTable::event_json:
        return collect_event_json(trigger, keys);
    case BaseTable::rejections:
        return collect_rejections(trigger, keys);
    case BaseTable::redactions:
        return collect_redactions(trigger, keys);
    case BaseTable::room_ban_redactions:
        return collect_room_ban_redactions(trigger, keys);
    case BaseTable::rooms:
        return collect_rooms(trigger, keys);
    case BaseTable::room_memberships:
        return collect_room_memberships(trigger, keys);
    case BaseTable::current_state_events:
        return collect_current_state_events(trigger, keys);
    case BaseTable::local_current_membership:
        return collect_local_current_membership(trigger, keys);
    }
}

}  // namespace sliding_sync
