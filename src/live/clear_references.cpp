#include "live/clear_references.hpp"

#include "derive/failure.hpp"
#include "derive/refresh.hpp"
#include "derive/write_as.hpp"
#include "live/row.hpp"
#include "pg/fault_injection.hpp"

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

void mark_room_dirty(PendingKeys& keys, std::string_view room_id) {
    call_pg([&] {
        PendingRoom& room = pending_room(keys, room_id);
        room.orderings = true;
        room.state = true;
    });
}

void mark_memberships_dirty(PendingKeys& keys, const std::vector<MembershipKey>& memberships) {
    call_pg([&] {
        for (const MembershipKey& key : memberships) {
            pending_membership(keys, key.room_id, key.user_id);
        }
    });
}

constexpr std::array<const char*, 2> derived_tables{joined_rooms_table, membership_snapshots_table};

// False when nothing was done, since it needs a net.
bool remove_references(PendingKeys& keys, const OldEvent& event, const Homeserver& homeserver, bool has_net) {
    // snapshots refer to membership events by their id as well
    const auto found = homeserver.statements.references.to_event(
        event.stream_ordering,
        event.is_membership ? std::optional<std::string_view>(event.event_id) : std::nullopt);
    if (found.rooms.empty() && found.memberships.empty()) {
        return true;
    }
    if (!has_net && !stay_plain(homeserver, derived_tables)) {
        return false;
    }
    Statements& statements = homeserver.statements;
    if (!found.rooms.empty()) {
        statements.joined_rooms.lock(found.rooms);
        statements.joined_rooms.remove(found.rooms);
        for (const std::string_view room_id : found.rooms) {
            mark_room_dirty(keys, room_id);
        }
    }
    if (!found.memberships.empty()) {
        statements.snapshots.lock(found.memberships);
        statements.snapshots.remove(found.memberships);
        mark_memberships_dirty(keys, found.memberships);
    }
    return true;
}

bool remove_all_of_room(PendingKeys& keys, std::string_view room_id, const Homeserver& homeserver,
                        bool has_net) {
    if (!has_net && !stay_plain(homeserver, derived_tables)) {
        return false;
    }
    mark_memberships_dirty(keys, homeserver.statements.references.remove_all_of_room(room_id));
    return true;
}

// Where the tables are plain, removing rows leaves nothing to fail at that removing more of them would not
// fail at too.
bool needs_a_net(const Homeserver& homeserver) {
    return !homeserver.schema.joined_rooms_is_plain || is_injecting_faults() ||
           !homeserver.snapshots_are_plain();
}

// What fails costs the rows of the room, all of which are made again when the transaction ends, and not the
// homeserver's statement.
void carry_out_for_room(PendingKeys& keys, std::string_view room_id, const Homeserver& homeserver,
                        const std::function<bool(bool has_net)>& work) {
    if (!needs_a_net(homeserver)) {
        const SpiConnection connection;
        if (work(false)) {
            return;
        }
    }
    GuardedWork guarded{joined_rooms_table, 1, {}, {}, {}, {}, {}};
    guarded.work = [&](std::size_t, std::size_t) {
        const SpiConnection connection;
        (void)work(true);
    };
    guarded.remove = [&](std::size_t, std::size_t) {
        const SpiConnection connection;
        (void)remove_all_of_room(keys, room_id, homeserver, true);
    };
    guarded.key = [&](std::size_t) { return QuarantineKey{room_id, std::nullopt}; };
    run_or_quarantine(homeserver.schema, guarded);
}

void clear_references_to_event(PendingKeys& keys, const OldEvent& event, const Homeserver& homeserver) {
    carry_out_for_room(keys, event.room_id, homeserver, [&](bool has_net) {
        // of a table of which only keys can be read nobody knows what its rows refer to
        return homeserver.schema.has_keyed_table()
                   ? remove_all_of_room(keys, event.room_id, homeserver, has_net)
                   : remove_references(keys, event, homeserver, has_net);
    });
}

void clear_references_to_room(PendingKeys& keys, std::string_view room_id, const Homeserver& homeserver) {
    carry_out_for_room(keys, room_id, homeserver,
                       [&](bool has_net) { return remove_all_of_room(keys, room_id, homeserver, has_net); });
}

}  // namespace

bool may_be_referred_to(const TriggerData& trigger, BaseTable table) {
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

void clear_references(const TriggerData& trigger, BaseTable table) {
    PendingKeys& keys = *call_pg([&] { return &pending_keys(RelationGetNamespace(trigger.tg_relation)); });
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
        clear_references_to_event(keys, call_pg([&] { return old_event(trigger); }), *homeserver);
    } else {
        clear_references_to_room(keys, call_pg([&] { return old_room_id(trigger); }), *homeserver);
    }
}

}  // namespace sliding_sync
