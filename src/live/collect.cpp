#include "live/collect.hpp"

#include "live/row.hpp"
#include "rules/event_types.hpp"

namespace sliding_sync {

namespace {

// An UPDATE that leaves every column we look at as it was.
template <std::size_t count>
bool is_unchanged(const Change<count>& change) {
    if (!change.before || !change.after) {
        return false;
    }
    for (std::size_t column = 0; column < count; ++column) {
        if (change.after->differs(*change.before, column)) {
            return false;
        }
    }
    return true;
}

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
    state_key,
    rejection_reason
};
constexpr std::array<ColumnSpec, 9> specs{{{"event_id", ColumnKind::key},
                                           {"room_id", ColumnKind::key},
                                           {"type", ColumnKind::text},
                                           {"sender", ColumnKind::text},
                                           {"outlier", ColumnKind::boolean},
                                           {"instance_name", ColumnKind::text},
                                           {"stream_ordering", ColumnKind::bigint},
                                           {"state_key", ColumnKind::text},
                                           {"rejection_reason", ColumnKind::text}}};
ColumnNumbers<specs.size()> columns;

void inserted(PendingKeys& keys, const Row<specs.size()>& row) {
    PendingRoom& room = pending_room(keys, row.text(room_id));
    room.unpaired_event_ids ^= std::hash<std::string_view>{}(row.text(event_id));
    const std::string_view event_type = row.text(type);
    if (event_type == redaction_type) {
        // its row in `redactions` may have come first
        pending_event(keys, row.text(event_id)).redaction = true;
    } else if (rules::state_kind(event_type)) {
        room.state = true;  // current state may have named it before it was stored
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
    room.latest = std::max(room.latest, ordering);
    if (ordering > 0 && rules::is_bump_type(event_type)) {
        room.latest_bump = std::max(room.latest_bump, ordering);
    }
}

// What a snapshot holds of its membership event. A history purge makes outliers of all state events of a room, members
// among them, and changes none of this.
bool is_other_membership(const Change<specs.size()>& change) {
    constexpr std::array held{event_id, room_id, type, sender, instance_name, stream_ordering, state_key};
    return std::any_of(held.begin(), held.end(),
                       [&](Column column) { return change.after->differs(*change.before, column); });
}

// Everything that reads differently now: its room's orderings, the state it stands in, the membership it makes.
void changed(PendingKeys& keys, const Row<specs.size()>& row, bool with_membership) {
    PendingRoom& room = pending_room(keys, row.text(room_id));
    room.orderings = true;
    room.state = true;
    if (row.text(type) == member_type) {
        if (!with_membership) {
            return;
        }
        if (row.is_null(state_key)) {
            pending_event(keys, row.text(event_id)).membership = true;  // older than the column
        } else {
            pending_membership(keys, row.text(room_id), row.text(state_key));
        }
    } else if (row.text(type) == redaction_type) {
        pending_event(keys, row.text(event_id)).redaction = true;
    }
}

void collect(PendingKeys& keys, const Change<specs.size()>& change, bool is_complete) {
    if (!change.before && is_complete) {
        inserted(keys, *change.after);
        return;
    }
    if (!change.before || !change.after) {
        PendingRoom& room = pending_room(keys, (change.before ? change.before : change.after)->text(room_id));
        room.orderings = true;
        room.state = true;
        return;
    }
    if (!is_complete || !is_unchanged(change)) {
        const bool with_membership = !is_complete || is_other_membership(change);
        changed(keys, *change.before, with_membership);
        changed(keys, *change.after, with_membership);
    }
}

}  // namespace events

namespace event_json {

enum Column : std::size_t { event_id, room_id, json, internal_metadata };
constexpr std::array<ColumnSpec, 4> specs{{{"event_id", ColumnKind::key},
                                           {"room_id", ColumnKind::key},
                                           {"json", ColumnKind::text},
                                           {"internal_metadata", ColumnKind::text}}};
ColumnNumbers<specs.size()> columns;

void collect(PendingKeys& keys, const Change<specs.size()>& change, bool is_complete) {
    if (!change.before) {
        pending_room(keys, change.after->text(room_id)).unpaired_event_ids ^=
            std::hash<std::string_view>{}(change.after->text(event_id));
        return;
    }
    if (is_complete && change.after && !change.after->differs(*change.before, json) &&
        !change.after->differs(*change.before, internal_metadata)) {
        return;
    }
    pending_room(keys, change.before->text(room_id)).state = true;
    if (change.after) {
        // it may be a redaction whose verdict depends on its own JSON
        pending_event(keys, change.after->text(event_id)).redaction = true;
    }
}

}  // namespace event_json

namespace rejections {

enum Column : std::size_t { event_id };
constexpr std::array<ColumnSpec, 1> specs{{{"event_id", ColumnKind::key}}};
ColumnNumbers<specs.size()> columns;

void collect(PendingKeys& keys, const Change<specs.size()>& change, bool is_complete) {
    for (const auto& row : {change.before, change.after}) {
        if (row) {
            PendingEvent& event = pending_event(keys, row->text(event_id));
            event.rejection = true;
            event.redaction = true;
        }
    }
}

}  // namespace rejections

namespace redactions {

enum Column : std::size_t { event_id, redacts, recheck };
constexpr std::array<ColumnSpec, 3> specs{
    {{"event_id", ColumnKind::key}, {"redacts", ColumnKind::key}, {"recheck", ColumnKind::boolean, true}}};
ColumnNumbers<specs.size()> columns;

void collect(PendingKeys& keys, const Change<specs.size()>& change, bool is_complete) {
    if (is_complete && is_unchanged(change)) {
        return;  // have_censored and the like (H68)
    }
    for (const auto& row : {change.before, change.after}) {
        if (row) {
            pending_event(keys, row->text(redacts)).redaction = true;
            pending_event(keys, row->text(event_id)).redaction = true;
        }
    }
}

}  // namespace redactions

namespace room_ban_redactions {

enum Column : std::size_t { room_id };
constexpr std::array<ColumnSpec, 1> specs{{{"room_id", ColumnKind::key}}};
ColumnNumbers<specs.size()> columns;

void collect(PendingKeys& keys, const Change<specs.size()>& change, bool is_complete) {
    for (const auto& row : {change.before, change.after}) {
        if (row) {
            pending_room(keys, row->text(room_id)).state = true;  // H92
        }
    }
}

}  // namespace room_ban_redactions

namespace rooms {

enum Column : std::size_t { room_id };
constexpr std::array<ColumnSpec, 1> specs{
    {{"room_id", ColumnKind::key}}};  // the version decides nothing here (H51)
ColumnNumbers<specs.size()> columns;

void collect(PendingKeys& keys, const Change<specs.size()>& change, bool is_complete) {
    if (is_complete && is_unchanged(change)) {
        return;
    }
    for (const auto& row : {change.before, change.after}) {
        if (row) {
            PendingRoom& room = pending_room(keys, row->text(room_id));
            room.state = true;
            room.memberships = true;
        }
    }
}

}  // namespace rooms

namespace room_memberships {

enum Column : std::size_t { room_id, user_id, sender, forgotten };
constexpr std::array<ColumnSpec, 4> specs{{{"room_id", ColumnKind::key},
                                           {"user_id", ColumnKind::key},
                                           {"sender", ColumnKind::text},
                                           {"forgotten", ColumnKind::integer}}};
ColumnNumbers<specs.size()> columns;

void collect(PendingKeys& keys, const Change<specs.size()>& change, bool is_complete) {
    if (!change.after) {
        return;  // what was forgotten stays known: a purge removes the membership as well
    }
    const auto& row = *change.after;
    const bool is_forgotten = !row.is_null(forgotten) && DatumGetInt32(row.value(forgotten).value) != 0;
    const bool matters = !is_complete || (change.before ? row.differs(*change.before, forgotten) ||
                                                              row.differs(*change.before, sender)
                                                        : is_forgotten);
    if (matters) {
        pending_membership(keys, row.text(room_id), row.text(user_id));
    }
}

}  // namespace room_memberships

namespace current_state_events {

enum Column : std::size_t { event_id, room_id, type, state_key };
constexpr std::array<ColumnSpec, 4> specs{{{"event_id", ColumnKind::key},
                                           {"room_id", ColumnKind::key},
                                           {"type", ColumnKind::text},
                                           {"state_key", ColumnKind::text}}};
ColumnNumbers<specs.size()> columns;

void note(PendingKeys& keys, const Row<specs.size()>& row, bool is_complete) {
    PendingRoom& room = pending_room(keys, row.text(room_id));
    // Any change of current state makes a homeserver write a missing row by its own rules.
    room.may_be_rewritten = true;
    if (!is_complete || (!room.state && rules::state_kind(row.text(type)) && row.text(state_key).empty())) {
        room.state = true;
    }
}

void collect(PendingKeys& keys, const Change<specs.size()>& change, bool is_complete) {
    if (is_complete && is_unchanged(change)) {
        return;  // a backfill of `membership` or `event_stream_ordering` (H78)
    }
    for (const auto& row : {change.before, change.after}) {
        if (row) {
            note(keys, *row, is_complete);
        }
    }
}

}  // namespace current_state_events

namespace local_current_membership {

enum Column : std::size_t { room_id, user_id, event_id, membership };
constexpr std::array<ColumnSpec, 4> specs{{{"room_id", ColumnKind::key},
                                           {"user_id", ColumnKind::key},
                                           {"event_id", ColumnKind::key},
                                           {"membership", ColumnKind::text}}};
ColumnNumbers<specs.size()> columns;

void collect(PendingKeys& keys, const Change<specs.size()>& change, bool is_complete) {
    if (is_complete && is_unchanged(change)) {
        return;  // a backfill of `event_stream_ordering` (H78)
    }
    if (change.before) {
        record_local_membership(keys, change.before->text(room_id), change.before->text(user_id),
                                change.before->text(event_id));
    }
    if (change.after) {
        record_local_membership(keys, change.after->text(room_id), change.after->text(user_id), {});
    }
}

}  // namespace local_current_membership

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

// Reads the row with the columns of its table. Without the columns that name what it concerns, anything may have
// changed.
template <std::size_t count, typename Collect>
void read_and_collect(const TriggerData& trigger, PendingKeys& keys, ColumnNumbers<count>& cache,
                      const std::array<ColumnSpec, count>& specs, Collect collect) {
    const ColumnNumbers<count>& columns = column_numbers(cache, trigger.tg_relation, specs);
    if (!columns.has_keys) {
        keys.unreadable = true;
        return;
    }
    collect(keys, read_change(trigger, columns), columns.is_complete);
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
        return read_and_collect(trigger, keys, events::columns, events::specs, events::collect);
    case BaseTable::event_json:
        return read_and_collect(trigger, keys, event_json::columns, event_json::specs, event_json::collect);
    case BaseTable::rejections:
        return read_and_collect(trigger, keys, rejections::columns, rejections::specs, rejections::collect);
    case BaseTable::redactions:
        return read_and_collect(trigger, keys, redactions::columns, redactions::specs, redactions::collect);
    case BaseTable::room_ban_redactions:
        return read_and_collect(trigger, keys, room_ban_redactions::columns, room_ban_redactions::specs,
                                room_ban_redactions::collect);
    case BaseTable::rooms:
        return read_and_collect(trigger, keys, rooms::columns, rooms::specs, rooms::collect);
    case BaseTable::room_memberships:
        return read_and_collect(trigger, keys, room_memberships::columns, room_memberships::specs,
                                room_memberships::collect);
    case BaseTable::current_state_events:
        return read_and_collect(trigger, keys, current_state_events::columns, current_state_events::specs,
                                current_state_events::collect);
    case BaseTable::local_current_membership:
        return read_and_collect(trigger, keys, local_current_membership::columns,
                                local_current_membership::specs, local_current_membership::collect);
    }
}

}  // namespace sliding_sync
