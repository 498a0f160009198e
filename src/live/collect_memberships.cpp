#include "live/watched.hpp"
#include "rules/event_types.hpp"

namespace sliding_sync {

namespace {

namespace rooms {

enum Column : std::size_t { room_id, count };
// the version decides nothing here (H51)
constexpr std::array<WatchedColumn, count> watched{
    {{{"room_id", ColumnKind::key}, its_room | its_membership}}};

void collect(PendingKeys& keys, const Change<count>& change, Concerns, bool) {
    for_each_row(change, [&](const Row<count>& row) {
        PendingRoom& room = pending_room(keys, row.text(room_id));
        room.state = true;
        room.memberships = true;
    });
}

}  // namespace rooms

namespace room_memberships {

enum Column : std::size_t { event_id, room_id, user_id, sender, membership, forgotten, count };
constexpr std::array<WatchedColumn, count> watched{{{{"event_id", ColumnKind::key}, its_membership},
                                                    {{"room_id", ColumnKind::key}, its_membership},
                                                    {{"user_id", ColumnKind::key}, its_membership},
                                                    {{"sender", ColumnKind::text}, its_membership},
                                                    {{"membership", ColumnKind::text}, its_membership},
                                                    {{"forgotten", ColumnKind::integer}, its_membership}}};

void collect(PendingKeys& keys, const Change<count>& change, Concerns, bool) {
    if (!change.after) {
        // what was forgotten stays known: a purge removes the membership as well
        pending_room(keys, change.before->text(room_id)).incomplete_memberships = true;
        return;
    }
    for_each_row(change, [&](const Row<count>& row) {
        if (change.before) {
            // also without a membership that can be seen: another transaction may be making it a membership
            // again
            pending_membership(keys, row.text(room_id), row.text(user_id));
            pending_event(keys, row.text(event_id)).membership = true;
        } else {
            pending_member(keys, row.text(room_id), row.text(user_id));
            pending_room(keys, row.text(room_id)).unpaired_member_ids ^=
                std::hash<std::string_view>{}(row.text(event_id));
        }
    });
}

}  // namespace room_memberships

namespace current_state_events {

enum Column : std::size_t { event_id, room_id, type, state_key, count };
// `membership` and `event_stream_ordering`, which a homeserver fills in later, are not read (H78)
constexpr Concerns all = its_room | its_membership;
constexpr std::array<WatchedColumn, count> watched{{{{"event_id", ColumnKind::key}, all},
                                                    {{"room_id", ColumnKind::key}, all},
                                                    {{"type", ColumnKind::text}, all},
                                                    {{"state_key", ColumnKind::text}, all}}};

void collect(PendingKeys& keys, const Change<count>& change, Concerns, bool is_complete) {
    for_each_row(change, [&](const Row<count>& row) {
        PendingRoom& room = pending_room(keys, row.text(room_id));
        // Any change of current state makes a homeserver write a missing row by its own rules.
        room.may_be_rewritten = true;
        if (!is_complete ||
            (!room.state && rules::state_kind(row.text(type)) && row.text(state_key).empty())) {
            room.state = true;
        }
    });
    // Only a membership that enters current state is changed by it.
    if (change.after && change.after->text(type) == "m.room.member") {
        pending_member(keys, change.after->text(room_id), change.after->text(state_key));
    }
}

}  // namespace current_state_events

namespace local_current_membership {

enum Column : std::size_t { room_id, user_id, event_id, membership, count };
// `event_stream_ordering`, which a homeserver fills in later, is not read (H78)
constexpr std::array<WatchedColumn, count> watched{{{{"room_id", ColumnKind::key}, its_membership},
                                                    {{"user_id", ColumnKind::key}, its_membership},
                                                    {{"event_id", ColumnKind::key}, its_membership},
                                                    {{"membership", ColumnKind::text}, its_membership}}};

void collect(PendingKeys& keys, const Change<count>& change, Concerns, bool) {
    if (change.before) {
        record_local_membership(keys, change.before->text(room_id), change.before->text(user_id),
                                change.before->text(event_id));
    }
    if (change.after) {
        record_local_membership(keys, change.after->text(room_id), change.after->text(user_id), {});
    }
}

}  // namespace local_current_membership

}  // namespace

void collect_rooms(const TriggerData& trigger, PendingKeys& keys) {
    read_and_collect<rooms::watched>(trigger, keys, rooms::collect);
}

void collect_room_memberships(const TriggerData& trigger, PendingKeys& keys) {
    read_and_collect<room_memberships::watched>(trigger, keys, room_memberships::collect);
}

void collect_current_state_events(const TriggerData& trigger, PendingKeys& keys) {
    read_and_collect<current_state_events::watched>(trigger, keys, current_state_events::collect);
}

void collect_local_current_membership(const TriggerData& trigger, PendingKeys& keys) {
    read_and_collect<local_current_membership::watched>(trigger, keys, local_current_membership::collect);
}

}  // namespace sliding_sync
