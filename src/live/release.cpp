#include "live/release.hpp"

#include "live/flush.hpp"
#include "live/noted.hpp"
#include "live/row.hpp"
#include "server/transaction.hpp"

namespace sliding_sync {

namespace {

struct DeletedRow {
    std::string_view room_id;
    std::string_view event_id;
    bool is_membership;
};

constexpr std::array<ColumnSpec, 3> event_columns{
    {{"room_id", ColumnKind::key}, {"event_id", ColumnKind::key}, {"type", ColumnKind::text}}};
constexpr std::array<ColumnSpec, 1> room_columns{{{"room_id", ColumnKind::key}}};

DeletedRow read_event(const TriggerData& trigger) {
    static ColumnNumbers<event_columns.size()> columns;
    const Row row(trigger.tg_trigslot, column_numbers(columns, trigger.tg_relation, event_columns).numbers);
    return {row.text(0), row.text(1), row.text(2) == "m.room.member"};
}

DeletedRow read_room(const TriggerData& trigger) {
    static ColumnNumbers<room_columns.size()> columns;
    const Row row(trigger.tg_trigslot, column_numbers(columns, trigger.tg_relation, room_columns).numbers);
    return {row.text(0), {}, false};
}

// One number a DELETE statement: the server looks the trigger function up once for each.
std::uint32_t statement_number(FmgrInfo* function) noexcept {
    static std::uint32_t statements = 0;
    if (function->fn_extra == nullptr) {
        if (++statements == 0) {
            ++statements;
        }
        function->fn_extra = reinterpret_cast<void*>(static_cast<std::uintptr_t>(statements));
    }
    return static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(function->fn_extra));
}

// The homeserver's DELETE must not fail because of us: when `work` does, `remove` is what is left.
void carry_out_for_room(Homeserver& homeserver, std::string_view room_id, const std::function<void()>& work,
                        const std::function<void()>& remove) {
    const WriteAs owner(homeserver.schema.derived_owner);
    carry_out(homeserver.schema, homeserver.fuse,
              {joined_rooms_table, 1, [&](std::size_t, std::size_t) { work(); },
               [&](std::size_t, std::size_t) { remove(); },
               [&](std::size_t) {
                   return QuarantineKey{room_id, std::nullopt};
               }});
}

void remove_room(Homeserver& homeserver, std::string_view room_id) {
    const SpiConnection connection;
    homeserver.street->apply.remove_room(room_id);
}

// Re-points or removes the room's own row, and the snapshots of memberships that went in this transaction.
void release_room_of_events(const NotedKeys& keys, NotedRoom& room, Homeserver& homeserver) {
    const std::string_view room_id = view(room.room_id);
    const auto references = [&] {
        const SpiConnection connection;
        return homeserver.street->rooms.references(room_id);
    };
    RoomFacts::References found = references();
    if (found.joined_room || found.snapshots) {
        // a row that is missing is made here: a backfill that makes it would wait for us, and we for it in the end
        flush_room_now(keys, room, found.joined_room || found.no_joined_room);
        found = references();
    }
    room.has_snapshots = found.snapshots;
}

// The room stays, and so do its memberships: they are looked at again when the transaction ends.
void remove_room_of_events(NotedKeys& keys, const DeletedRow& deleted, Homeserver& homeserver) {
    const SpiConnection connection;
    for (const MembershipKey& key : homeserver.street->apply.remove_room(deleted.room_id)) {
        call_pg([&] { note_membership(keys, key.room_id, key.user_id); });
    }
}

void release_membership(NotedKeys& keys, const DeletedRow& deleted, Homeserver& homeserver) {
    const SpiConnection connection;
    for (const MembershipKey& key : homeserver.street->apply.remove_memberships_of_event(deleted.event_id)) {
        call_pg([&] { note_membership(keys, key.room_id, key.user_id); });
    }
}

void refuse_hidden_snapshot(const DeletedRow& deleted, Homeserver& homeserver) {
    const WriteAs owner(homeserver.schema.derived_owner);
    const SpiConnection connection;
    refuse_hidden_rows(homeserver.street->memberships.is_referred_to_by_now(deleted.event_id));
}

void release_event(NotedKeys& keys, const DeletedRow& deleted, std::uint32_t statement) {
    NotedRoom& room = *call_pg([&] { return &note_room(keys, deleted.room_id); });
    const bool first = room.released_in != statement;
    if (!first && !deleted.is_membership) {
        return;
    }
    Homeserver& homeserver = homeserver_in(keys.namespace_oid);
    if (!OidIsValid(homeserver.schema.derived_owner)) {
        return;
    }
    if (homeserver.schema.has_unknown_table()) {
        remove_everything(homeserver);
        return;
    }
    const auto careful = [&] {
        if (first) {
            release_room_of_events(keys, room, homeserver);
        }
        if (deleted.is_membership && room.has_snapshots) {
            release_membership(keys, deleted, homeserver);
        }
    };
    if (first || room.has_snapshots) {
        carry_out_for_room(homeserver, deleted.room_id, careful,
                           [&] { remove_room_of_events(keys, deleted, homeserver); });
        room.released_in = statement;
    }
    if (deleted.is_membership && !is_read_committed()) {
        refuse_hidden_snapshot(deleted, homeserver);
    }
}

void release_room(const NotedKeys& keys, const DeletedRow& deleted) {
    Homeserver& homeserver = homeserver_in(keys.namespace_oid);
    if (!OidIsValid(homeserver.schema.derived_owner)) {
        return;
    }
    if (homeserver.schema.has_unknown_table()) {
        remove_everything(homeserver);
        return;
    }
    const auto remove = [&] { remove_room(homeserver, deleted.room_id); };
    carry_out_for_room(homeserver, deleted.room_id, remove, remove);
    if (!is_read_committed()) {
        const WriteAs owner(homeserver.schema.derived_owner);
        const SpiConnection connection;
        refuse_hidden_rows(homeserver.street->rooms.has_rows_by_now(deleted.room_id));
    }
}

}  // namespace

void release_deleted_row(const TriggerData& trigger, BaseTable table, FmgrInfo* function) {
    if (!call_pg([&] { return is_base_table(trigger.tg_relation, table); })) {
        return;
    }
    const DeletedRow deleted =
        call_pg([&] { return table == BaseTable::events ? read_event(trigger) : read_room(trigger); });
    NotedKeys& keys = *call_pg([&] { return &noted_keys(RelationGetNamespace(trigger.tg_relation)); });
    if (table == BaseTable::events) {
        release_event(keys, deleted, statement_number(function));
    } else {
        release_room(keys, deleted);
    }
}

}  // namespace sliding_sync
