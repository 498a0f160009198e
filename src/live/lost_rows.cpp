#include "live/lost_rows.hpp"

#include "derive/fact_sql.hpp"
#include "derive/homeserver.hpp"
#include "derive/own_deletes.hpp"
#include "derive/write_as.hpp"
#include "live/bypassed_writes.hpp"
#include "live/row.hpp"
#include "pg/transaction.hpp"

#include <map>

extern "C" {
#include "catalog/pg_type.h"
#include "utils/memutils.h"
}

namespace sliding_sync {

namespace {

// In the memory of the transaction.
struct LostRow {
    Oid table;
    bool is_room;  // of sliding_sync_joined_rooms, and without a user
    Oid namespace_oid;
    std::string_view room_id;
    std::string_view user_id;
    LostRow* next;
};
LostRow* lost = nullptr;

constexpr std::array<ColumnSpec, 1> room_key{{{"room_id", ColumnKind::key}}};
constexpr std::array<ColumnSpec, 2> membership_key{
    {{"room_id", ColumnKind::key}, {"user_id", ColumnKind::key}}};

std::string_view copy(std::string_view text) {
    auto* const memory = static_cast<char*>(MemoryContextAlloc(TopTransactionContext, text.size() + 1));
    memcpy(memory, text.data(), text.size());
    return {memory, text.size()};
}

// What was deleted because nothing stands for it any more, or was made again before the end, is not lost.
bool are_missing(const HomeserverSchema& schema, bool are_rooms, std::span<const std::string_view> room_ids,
                 std::span<const std::string_view> user_ids) {
    const std::string rooms = R"(
        SELECT EXISTS (
            SELECT
            FROM pg_catalog.unnest($1) k (room_id)
            JOIN %S.rooms r ON r.room_id %= k.room_id
            WHERE NOT EXISTS (SELECT FROM %S.sliding_sync_joined_rooms j WHERE j.room_id %= k.room_id)
                AND EXISTS (SELECT FROM %S.current_state_events c WHERE c.room_id %= k.room_id
                    AND c.state_key %= '' AND c.type %= ANY ()" +
                              relevant_types_array() + R"())
                AND $2 IS NOT NULL))";
    constexpr std::string_view memberships = R"(
        SELECT EXISTS (
            SELECT
            FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) k (room_id, user_id)
            JOIN %S.local_current_membership l ON l.room_id %= k.room_id AND l.user_id %= k.user_id
            WHERE NOT EXISTS (SELECT FROM %S.sliding_sync_membership_snapshots m
                WHERE m.room_id %= k.room_id AND m.user_id %= k.user_id)))";
    const WriteAs reader(schema.derived_owner);
    const SpiConnection connection;
    return query_once(sql_text(are_rooms ? rooms : memberships, schema.name), {TEXTARRAYOID, TEXTARRAYOID},
                      Arguments().texts(room_ids).texts(user_ids))[0][0]
        .boolean();
}

template <const auto& key_columns>
void keep(const TriggerData& trigger) {
    constexpr bool is_room = std::size(key_columns) == 1;
    static constinit ColumnNumbers<std::size(key_columns)> columns;
    const auto& found = column_numbers(columns, trigger.tg_relation, key_columns);
    if (!found.has_keys) {
        record_bypassed_write(RelationGetRelid(trigger.tg_relation), BypassReason::deleted);
        return;
    }
    const Row row(trigger.tg_trigslot, found.numbers);
    const std::string_view room_id = row.text(0);
    const std::string_view user_id = is_room ? std::string_view() : row.text(std::size(key_columns) - 1);
    const Oid namespace_oid = RelationGetNamespace(trigger.tg_relation);
    if (OwnDelete::deletes(namespace_oid, is_room, room_id, user_id)) {
        return;
    }
    auto* const kept = static_cast<LostRow*>(MemoryContextAlloc(TopTransactionContext, sizeof(LostRow)));
    *kept = {
        RelationGetRelid(trigger.tg_relation), is_room, namespace_oid, copy(room_id), copy(user_id), lost};
    lost = kept;
}

}  // namespace

void keep_lost_row(const TriggerData& trigger) {
    if (strcmp(RelationGetRelationName(trigger.tg_relation), joined_rooms_table) == 0) {
        keep<room_key>(trigger);
    } else {
        keep<membership_key>(trigger);
    }
}

bool has_lost_rows() noexcept {
    return lost != nullptr;
}

void record_lost_rows() {
    std::map<Oid, std::vector<const LostRow*>> by_table;
    for (const LostRow* row = lost; row != nullptr; row = row->next) {
        by_table[row->table].push_back(row);
    }
    for (const auto& [table, rows] : by_table) {
        std::vector<std::string_view> room_ids;
        std::vector<std::string_view> user_ids;
        for (const LostRow* row : rows) {
            room_ids.push_back(row->room_id);
            user_ids.push_back(row->user_id);
        }
        bool is_missing = false;
        const auto failure = run_in_subtransaction([&] {
            const auto homeserver = homeserver_in(rows.front()->namespace_oid);
            // without an owner there is no table any more that the row could have been made again in
            is_missing = !OidIsValid(homeserver->schema.derived_owner) ||
                         are_missing(homeserver->schema, rows.front()->is_room, room_ids, user_ids);
        });
        if (is_missing || failure) {
            call_pg([&] { record_bypassed_write(table, BypassReason::deleted); });
        }
    }
    forget_lost_rows();
}

void forget_lost_rows() noexcept {
    lost = nullptr;
}

}  // namespace sliding_sync
