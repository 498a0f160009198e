#include "live/release.hpp"

#include "derive/failure.hpp"
#include "derive/refresh.hpp"
#include "live/row.hpp"
#include "server/fault.hpp"
#include "server/write_as.hpp"

namespace sliding_sync {

namespace {

namespace events {
enum Column : std::size_t { event_id, room_id, stream_ordering, type };
constexpr std::array<ColumnSpec, 4> specs{{{"event_id", ColumnKind::text},
                                           {"room_id", ColumnKind::text},
                                           {"stream_ordering", ColumnKind::bigint},
                                           {"type", ColumnKind::text}}};
ColumnNumbers<specs.size()> columns;
}  // namespace events

namespace rooms {
enum Column : std::size_t { room_id };
constexpr std::array<ColumnSpec, 1> specs{{{"room_id", ColumnKind::text}}};
ColumnNumbers<specs.size()> columns;
}  // namespace rooms

template <std::size_t count>
Change<count> change_of(const TriggerData& trigger, ColumnNumbers<count>& columns,
                        const std::array<ColumnSpec, count>& specs) {
    return read_change(trigger, column_numbers(columns, trigger.tg_relation, specs));
}

struct OldEvent {
    std::string_view event_id;
    std::string_view room_id;
    std::optional<std::int64_t> stream_ordering;
    bool is_membership;
};

// C calls only.
OldEvent old_event(const TriggerData& trigger) {
    const auto row = *change_of(trigger, events::columns, events::specs).before;
    OldEvent event{row.text(events::event_id), row.text(events::room_id), std::nullopt,
                   row.text(events::type) == "m.room.member"};
    if (!row.is_null(events::stream_ordering)) {
        event.stream_ordering = row.number(events::stream_ordering);
    }
    return event;
}

std::string_view old_room_id(const TriggerData& trigger) {
    return change_of(trigger, rooms::columns, rooms::specs).before->text(rooms::room_id);
}

void note_room_from_scratch(NotedKeys& keys, std::string_view room_id) {
    call_pg([&] {
        NotedRoom& room = note_room(keys, room_id);
        room.orderings = true;
        room.state = true;
    });
}

void note_memberships(NotedKeys& keys, const std::vector<MembershipKey>& memberships) {
    call_pg([&] {
        for (const MembershipKey& key : memberships) {
            note_membership(keys, key.room_id, key.user_id);
        }
    });
}

void remove_references(NotedKeys& keys, const OldEvent& event, const Homeserver& homeserver) {
    // snapshots refer to membership events by their id as well
    const auto found = homeserver.street.references.to_event(
        event.stream_ordering,
        event.is_membership ? std::optional<std::string_view>(event.event_id) : std::nullopt);
    Street& street = homeserver.street;
    if (!found.rooms.empty()) {
        street.rooms.lock(found.rooms);
        street.apply.remove_joined_rooms(found.rooms);
        for (const std::string_view room_id : found.rooms) {
            note_room_from_scratch(keys, room_id);
        }
    }
    if (!found.memberships.empty()) {
        street.memberships.lock(found.memberships);
        street.apply.remove_memberships(found.memberships);
        note_memberships(keys, found.memberships);
    }
}

// Where the tables are plain, removing rows leaves nothing to fail at that removing more of them would not fail at too.
bool needs_a_net(const Homeserver& homeserver) noexcept {
    return !homeserver.schema.joined_rooms_is_plain || !homeserver.schema.membership_snapshots_is_plain ||
           are_faults_set();
}

// What fails costs the rows of the room, all of which are made again when the transaction ends, and not the homeserver's
// statement.
void carry_out_for_room(NotedKeys& keys, std::string_view room_id, const Homeserver& homeserver,
                        const std::function<void()>& work) {
    if (!needs_a_net(homeserver)) {
        const SpiConnection connection;
        work();
        return;
    }
    GuardedWork guarded{joined_rooms_table, 1, {}, {}, {}, {}, {}};
    guarded.work = [&](std::size_t, std::size_t) {
        const SpiConnection connection;
        work();
    };
    guarded.remove = [&](std::size_t, std::size_t) {
        const SpiConnection connection;
        note_memberships(keys, homeserver.street.apply.remove_room(room_id));
    };
    guarded.key = [&](std::size_t) { return QuarantineKey{room_id, std::nullopt}; };
    carry_out(homeserver.schema, guarded);
}

void release_event(NotedKeys& keys, const OldEvent& event, const Homeserver& homeserver) {
    const auto work = [&] {
        if (homeserver.schema.has_keyed_table()) {
            // what its rows refer to cannot be read
            note_memberships(keys, homeserver.street.apply.remove_room(event.room_id));
        } else {
            remove_references(keys, event, homeserver);
        }
    };
    carry_out_for_room(keys, event.room_id, homeserver, work);
}

void release_room(NotedKeys& keys, std::string_view room_id, const Homeserver& homeserver) {
    carry_out_for_room(keys, room_id, homeserver,
                       [&] { note_memberships(keys, homeserver.street.apply.remove_room(room_id)); });
}

}  // namespace

bool must_be_released(const TriggerData& trigger, BaseTable table) {
    if (table != BaseTable::events && table != BaseTable::rooms) {
        return false;
    }
    if (TRIGGER_FIRED_BY_DELETE(trigger.tg_event)) {
        return true;
    }
    if (!TRIGGER_FIRED_BY_UPDATE(trigger.tg_event)) {
        return false;
    }
    if (table == BaseTable::rooms) {
        const auto change = change_of(trigger, rooms::columns, rooms::specs);
        return change.after->differs(*change.before, rooms::room_id);
    }
    const auto change = change_of(trigger, events::columns, events::specs);
    return change.after->differs(*change.before, events::event_id) ||
           change.after->differs(*change.before, events::stream_ordering);
}

void release(const TriggerData& trigger, BaseTable table) {
    if (!call_pg([&] { return is_base_table(trigger.tg_relation, table); })) {
        return;
    }
    NotedKeys& keys = *call_pg([&] { return &noted_keys(RelationGetNamespace(trigger.tg_relation)); });
    const auto homeserver = homeserver_in(keys.namespace_oid);
    if (!OidIsValid(homeserver->schema.derived_owner)) {
        return;
    }
    if (homeserver->schema.has_unknown_table()) {
        remove_everything(*homeserver);
        return;
    }
    const WriteAs owner(homeserver->schema.derived_owner);
    if (table == BaseTable::events) {
        release_event(keys, call_pg([&] { return old_event(trigger); }), *homeserver);
    } else {
        release_room(keys, call_pg([&] { return old_room_id(trigger); }), *homeserver);
    }
}

}  // namespace sliding_sync
