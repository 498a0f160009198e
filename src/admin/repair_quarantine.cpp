#include "admin/repair_quarantine.hpp"

#include "admin/trigger_coverage.hpp"
#include "derive/failure.hpp"
#include "derive/refresh.hpp"
#include "derive/write_as.hpp"
#include "pg/transaction.hpp"
#include "shared/sql_text.hpp"

extern "C" {
#include "catalog/pg_type.h"
}

namespace sliding_sync {

namespace {

struct Key {
    std::string schema;
    Oid namespace_oid;
    std::string room_id;
    std::optional<std::string> user_id;
};

std::vector<Key> keys_in_quarantine(const std::optional<std::string>& schema) {
    const WriteAs reader(bookkeeper());
    const SpiConnection connection;
    const Rows rows = query_once(sql_text(R"(
            SELECT DISTINCT q.schema_name, h.namespace_oid, q.room_id, q.user_id
            FROM sliding_sync.quarantine q
            JOIN sliding_sync.homeservers h ON h.schema_name %= q.schema_name
            WHERE q.table_name %<> '' AND ($1 IS NULL OR q.schema_name %= $1)
            ORDER BY q.schema_name, q.room_id, q.user_id)"),
                                 {TEXTOID}, Arguments().optional_text(schema));
    std::vector<Key> keys;
    enum Column : std::size_t { schema_name, namespace_oid, room_id, user_id };
    for (std::size_t i = 0; i < rows.count; ++i) {
        const auto row = rows[i];
        keys.push_back({std::string(row[schema_name].text()), static_cast<Oid>(row[namespace_oid].number),
                        std::string(row[room_id].text()), row[user_id].optional_text()});
    }
    return keys;
}

std::int64_t count_in_quarantine(const std::optional<std::string>& schema) {
    const WriteAs reader(bookkeeper());
    const SpiConnection connection;
    return query_once(sql_text(R"(
        SELECT pg_catalog.count(*)
        FROM sliding_sync.quarantine q
        JOIN sliding_sync.homeservers h ON h.schema_name %= q.schema_name
        WHERE $1 IS NULL OR q.schema_name %= $1)"),
                      {TEXTOID}, Arguments().optional_text(schema))[0][0]
        .number;
}

// A note that a transaction holds on to stands for what that one has changed as well: it stays.
std::vector<std::optional<std::int64_t>> lock_entries(const Key& key) {
    static Statement lock("lock_entries", sql_text(R"(
            SELECT q.entry_id
            FROM sliding_sync.quarantine q
            WHERE q.schema_name %= $1 AND q.room_id %= $2 AND COALESCE(q.user_id, '') %= COALESCE($3, '')
                AND q.table_name %<> ''
            ORDER BY q.entry_id
            FOR UPDATE SKIP LOCKED)"),
                          {TEXTOID, TEXTOID, TEXTOID});
    const WriteAs writer(bookkeeper());
    const SpiConnection connection;
    const Rows rows = lock.run(Arguments().text(key.schema).text(key.room_id).optional_text(key.user_id));
    std::vector<std::optional<std::int64_t>> entries;
    for (std::size_t i = 0; i < rows.count; ++i) {
        entries.emplace_back(rows[i][0].number);
    }
    return entries;
}

void take_out(std::span<const std::optional<std::int64_t>> entries) {
    static Statement remove("take_out_entries",
                            sql_text("DELETE FROM sliding_sync.quarantine q WHERE q.entry_id %= ANY ($1)"),
                            {INT8ARRAYOID});
    const WriteAs writer(bookkeeper());
    const SpiConnection connection;
    remove.run(Arguments().numbers(entries));
}

bool refresh_key(const Key& key) {
    const auto homeserver = homeserver_in(key.namespace_oid);
    forget_failures(homeserver->schema, key.user_id ? membership_snapshots_table : joined_rooms_table,
                    {key.room_id, key.user_id});
    Changes changes;
    if (key.user_id) {
        changes.memberships.push_back({key.room_id, *key.user_id});
    } else {
        changes.rooms.push_back(whole_room(key.room_id));
    }
    return refresh(*homeserver, std::move(changes), rules::RefreshMode::recompute).quarantined == 0;
}

// What fails, or waits for a lock, costs this key its turn: it stays noted, and stands in no other's way.
bool repair_key(const Key& key) {
    const ShortWaits short_waits;
    bool is_done = false;
    const auto failure = run_in_subtransaction(
        [&] {
            const auto entries = lock_entries(key);
            is_done = !entries.empty() && refresh_key(key);
            if (is_done) {
                take_out(entries);
            }
        },
        Swallow{true, true, !is_serializable(), true});
    return !failure && is_done;
}

}  // namespace

Repaired repair_quarantine(const std::optional<std::string>& schema) {
    call_pg([] { PreventCommandIfReadOnly("sliding_sync.repair_quarantine()"); });
    Repaired result;
    for (const Key& key : keys_in_quarantine(schema)) {
        if (repair_key(key)) {
            ++result.repaired;
        }
    }
    result.remaining = count_in_quarantine(schema);
    return result;
}

}  // namespace sliding_sync
