#include "live/watched.hpp"
#include "rules/event_types.hpp"

namespace sliding_sync {

namespace {

constexpr std::string_view member_type = "m.room.member";
constexpr std::string_view redaction_type = "m.room.redaction";

namespace events {

enum Column : std::size_t {
    event_id,
    room_id,
    type,
    sender,
    outlier,
    instance_name,
    stream_ordering,
    topological_ordering,
    state_key,
    rejection_reason,
    count
};
// A history purge makes outliers of all state events of a room, members among them: no snapshot changes by
// that which knows something.
constexpr std::array<WatchedColumn, count> watched{
    {{{"event_id", ColumnKind::key}, its_room | its_redaction | its_membership},
     {{"room_id", ColumnKind::key}, its_room | its_redaction | its_membership},
     {{"type", ColumnKind::text}, its_room | its_redaction | its_membership},
     {{"sender", ColumnKind::text}, its_room | its_redaction | its_membership},
     {{"outlier", ColumnKind::boolean}, its_room | what_is_unknown},
     {{"instance_name", ColumnKind::text}, its_membership},
     {{"stream_ordering", ColumnKind::bigint}, its_room | its_membership},
     {{"topological_ordering", ColumnKind::bigint, true}, what_is_unknown},
     {{"state_key", ColumnKind::text}, its_room | its_membership},
     {{"rejection_reason", ColumnKind::text}, its_room | its_redaction}}};

using EventRow = Row<count>;

// Who stores an event, its JSON and its membership in one transaction has made the pair pending anyway.
void note_membership(PendingKeys& keys, const EventRow& row) {
    if (row.is_null(state_key)) {
        pending_event(keys, row.text(event_id)).membership = true;  // older than the column
    } else {
        pending_member(keys, row.text(room_id), row.text(state_key));
    }
}

void inserted(PendingKeys& keys, const EventRow& row) {
    PendingRoom& room = pending_room(keys, row.text(room_id));
    const std::uint64_t id = std::hash<std::string_view>{}(row.text(event_id));
    room.unpaired_event_ids ^= id;
    const std::string_view event_type = row.text(type);
    if (event_type == redaction_type) {
        // its row in `redactions` may have come first
        pending_event(keys, row.text(event_id)).new_redaction = true;
    } else if (event_type == member_type) {
        room.unpaired_member_ids ^= id;
        room.member_events = true;
        note_membership(keys, row);
    } else if (const auto kind = rules::state_kind(event_type)) {
        room.state = true;  // current state may have named it before it was stored
        note(room.state_event_ids[static_cast<std::size_t>(*kind)], row.text(event_id));
    }
    if (row.is_null(stream_ordering)) {
        return;
    }
    const std::int64_t ordering = row.number(stream_ordering);
    room.oldest_new = std::min(room.oldest_new, ordering);
    if (row.boolean(outlier)) {
        room.may_be_rewritten = true;  // a homeserver's own bump counts it, ours does not (D5)
        return;
    }
    if (!row.is_null(rejection_reason)) {
        room.may_be_rewritten = true;
        return;
    }
    if (ordering > room.latest) {
        room.latest = ordering;
        note(room.latest_event_id, row.text(event_id));
    }
    if (ordering > 0 && ordering > room.latest_bump && rules::is_bump_type(event_type)) {
        room.latest_bump = ordering;
        note(room.latest_bump_event_id, row.text(event_id));
    }
}

void changed(PendingKeys& keys, const EventRow& row, Concerns concerns) {
    if ((concerns & its_room) != 0) {
        PendingRoom& room = pending_room(keys, row.text(room_id));
        room.orderings = true;
        room.state = true;
    }
    if ((concerns & what_is_unknown) != 0 && row.text(type) == member_type) {
        pending_room(keys, row.text(room_id)).incomplete_memberships = true;
    }
    if (row.text(type) == member_type && (concerns & its_membership) != 0) {
        note_membership(keys, row);
    } else if (row.text(type) == redaction_type && (concerns & its_redaction) != 0) {
        PendingEvent& event = pending_event(keys, row.text(event_id));
        event.redaction = true;
        event.membership = true;
    }
}

void collect(PendingKeys& keys, const Change<count>& change, Concerns concerns, bool is_complete) {
    if (!change.before && is_complete) {
        inserted(keys, *change.after);
        return;
    }
    if (!change.after) {
        // A purge deletes a million: not one by one. Snapshots that refer to the event were removed before
        // the foreign keys were checked (clear_references.hpp).
        PendingRoom& room = pending_room(keys, change.before->text(room_id));
        room.orderings = true;
        room.state = true;
        room.incomplete_memberships = true;
        return;
    }
    for_each_row(change, [&](const EventRow& row) { changed(keys, row, concerns); });
}

}  // namespace events

namespace event_json {

enum Column : std::size_t { event_id, room_id, json, internal_metadata, count };
constexpr Concerns all = its_room | its_redaction | its_membership;
constexpr std::array<WatchedColumn, count> watched{{{{"event_id", ColumnKind::key}, all},
                                                    {{"room_id", ColumnKind::key}, all},
                                                    {{"json", ColumnKind::text}, all},
                                                    {{"internal_metadata", ColumnKind::text}, all}}};

void collect(PendingKeys& keys, const Change<count>& change, Concerns, bool) {
    if (!change.before) {
        pending_room(keys, change.after->text(room_id)).unpaired_event_ids ^=
            std::hash<std::string_view>{}(change.after->text(event_id));
        return;
    }
    for_each_row(change, [&](const Row<count>& row) {
        PendingRoom& room = pending_room(keys, row.text(room_id));
        room.state = true;
        if (!change.after) {
            room.incomplete_memberships = true;  // a purge deletes a million: not one by one
            return;
        }
        // it may be a redaction that applies or not by its own JSON
        PendingEvent& event = pending_event(keys, row.text(event_id));
        event.redaction = true;
        event.membership = true;
    });
}

}  // namespace event_json

namespace rejections {

enum Column : std::size_t { event_id, count };
constexpr std::array<WatchedColumn, count> watched{
    {{{"event_id", ColumnKind::key}, its_room | its_redaction}}};

void collect(PendingKeys& keys, const Change<count>& change, Concerns, bool) {
    for_each_row(change, [&](const Row<count>& row) {
        PendingEvent& event = pending_event(keys, row.text(event_id));
        event.rejection = true;
        event.redaction = true;
        event.membership = true;
    });
}

}  // namespace rejections

namespace redactions {

enum Column : std::size_t { event_id, redacts, recheck, count };
// have_censored and the like are not read (H68)
constexpr std::array<WatchedColumn, count> watched{{{{"event_id", ColumnKind::key}, its_redaction},
                                                    {{"redacts", ColumnKind::key}, its_redaction},
                                                    {{"recheck", ColumnKind::boolean, true}, its_redaction}}};

void collect(PendingKeys& keys, const Change<count>& change, Concerns, bool) {
    if (!change.before) {
        // a snapshot keeps what it knows when its event is redacted (D24)
        pending_event(keys, change.after->text(event_id)).new_redaction = true;
        for (const Column column : {redacts, event_id}) {
            pending_event(keys, change.after->text(column)).is_named = true;
        }
        return;
    }
    for_each_row(change, [&](const Row<count>& row) {
        for (const Column column : {redacts, event_id}) {
            PendingEvent& event = pending_event(keys, row.text(column));
            event.is_named = true;
            event.redaction = true;
            event.membership = true;  // it may come to know more when its event is not redacted any more
        }
    });
}

}  // namespace redactions

namespace room_ban_redactions {

enum Column : std::size_t { room_id, user_id, redacting_event_id, redact_end_ordering, count };
constexpr std::array<WatchedColumn, count> watched{
    {{{"room_id", ColumnKind::key}, its_room},
     {{"user_id", ColumnKind::text, true}, its_room},
     {{"redacting_event_id", ColumnKind::text, true}, its_room},
     {{"redact_end_ordering", ColumnKind::bigint, true}, its_room}}};

void collect(PendingKeys& keys, const Change<count>& change, Concerns, bool) {
    for_each_row(change, [&](const Row<count>& row) {
        PendingRoom& room = pending_room(keys, row.text(room_id));
        room.state = true;  // H92
        room.incomplete_memberships = room.incomplete_memberships || change.before;
    });
}

}  // namespace room_ban_redactions

}  // namespace

void collect_events(const TriggerData& trigger, PendingKeys& keys) {
    read_and_collect<events::watched>(trigger, keys, events::collect);
}

void collect_event_json(const TriggerData& trigger, PendingKeys& keys) {
    read_and_collect<event_json::watched>(trigger, keys, event_json::collect);
}

void collect_rejections(const TriggerData& trigger, PendingKeys& keys) {
    read_and_collect<rejections::watched>(trigger, keys, rejections::collect);
}

void collect_redactions(const TriggerData& trigger, PendingKeys& keys) {
    read_and_collect<redactions::watched>(trigger, keys, redactions::collect);
}

void collect_room_ban_redactions(const TriggerData& trigger, PendingKeys& keys) {
    read_and_collect<room_ban_redactions::watched>(trigger, keys, room_ban_redactions::collect);
}

}  // namespace sliding_sync
