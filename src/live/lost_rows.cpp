#include "live/lost_rows.hpp"

#include "derive/fact_sql.hpp"
#include "derive/homeserver.hpp"
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

// In the memory of the transaction. A row of sliding_sync_joined_rooms has no user.
struct LostRow {
    Oid table;
    Oid namespace_oid;
    std::string_view room_id;
    std::string_view user_id;
    LostRow* next;
};
LostRow* lost = nullptr;

constexpr std::array<ColumnSpec, 2> key_columns{
    {{"room_id", ColumnKind::key}, {"user_id", ColumnKind::key, true}}};

std::string_view copy(std::string_view text) {
    auto* const memory = static_cast<char*>(MemoryContextAlloc(TopTransactionContext, text.size() + 1));
    memcpy(memory, text.data(), text.size());
    return {memory, text.size()};
}

// What was deleted because nothing stands for it any more, or was made again before the end, is not lost.
bool are_missing(const HomeserverSchema& schema, bool are_rooms, std::span<const std::string_view> room_ids,
                 std::span<const std::string_view> user_ids) {
    const std::string rooms =
        "SELECT EXISTS (SELECT FROM pg_catalog.unnest($1) k (room_id) JOIN %S.rooms r "
        "ON r.room_id %= k.room_id WHERE NOT EXISTS (SELECT FROM %S.sliding_sync_joined_rooms j "
        "WHERE j.room_id %= k.room_id) AND EXISTS (SELECT FROM %S.current_state_events c "
        "WHERE c.room_id %= k.room_id AND c.state_key %= '' AND c.type %= ANY (" +
        relevant_types_array() + ")) AND $2 IS NOT NULL)";
    const std::string memberships =
        "SELECT EXISTS (SELECT FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) k (room_id, "
        "user_id) "
        "JOIN %S.local_current_membership l ON l.room_id %= k.room_id AND l.user_id %= k.user_id "
        "WHERE NOT EXISTS (SELECT FROM %S.sliding_sync_membership_snapshots m "
        "WHERE m.room_id %= k.room_id AND m.user_id %= k.user_id))";
    const WriteAs reader(schema.derived_owner);
    const SpiConnection connection;
    return query_once(sql_text(are_rooms ? rooms : memberships, schema.name), {TEXTARRAYOID, TEXTARRAYOID},
                      Arguments().texts(room_ids).texts(user_ids))[0][0]
        .boolean();
}

}  // namespace

void keep_lost_row(const TriggerData& trigger) {
    static ColumnNumbers<key_columns.size()> columns;
    if (is_in_own_statement()) {
        return;
    }
    const ColumnNumbers<key_columns.size()>& found =
        column_numbers(columns, trigger.tg_relation, key_columns);
    if (!found.has_keys) {
        record_bypassed_write(RelationGetRelid(trigger.tg_relation), BypassReason::deleted);
        return;
    }
    const Row row(trigger.tg_trigslot, found.numbers);
    const std::string_view room_id = copy(row.text(0));
    const std::string_view user_id = row.has(1) ? copy(row.text(1)) : std::string_view();
    auto* const kept = static_cast<LostRow*>(MemoryContextAlloc(TopTransactionContext, sizeof(LostRow)));
    *kept = {RelationGetRelid(trigger.tg_relation), RelationGetNamespace(trigger.tg_relation), room_id,
             user_id, lost};
    lost = kept;
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
            is_missing =
                !OidIsValid(homeserver->schema.derived_owner) ||
                are_missing(homeserver->schema, user_ids.front().data() == nullptr, room_ids, user_ids);
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
