#include "admin/repair_quarantine.hpp"

#include "admin/trigger_coverage.hpp"
#include "derive/failure.hpp"
#include "derive/refresh.hpp"
#include "derive/write_as.hpp"
#include "pg/transaction.hpp"

namespace sliding_sync {

namespace {

struct Key {
    std::string schema;
    Oid namespace_oid;
    std::string room_id;
    std::optional<std::string> user_id;
};

std::vector<Key> keys_in_quarantine() {
    const WriteAs reader(bookkeeper());
    const SpiConnection connection;
    const Rows rows = query_once(
        "SELECT DISTINCT q.schema_name, h.namespace_oid, q.room_id, q.user_id "
        "FROM sliding_sync.quarantine q JOIN sliding_sync.homeservers h "
        "ON h.schema_name OPERATOR(pg_catalog.=) q.schema_name "
        "WHERE q.table_name OPERATOR(pg_catalog.<>) '' ORDER BY q.schema_name, q.room_id, q.user_id");
    std::vector<Key> keys;
    for (std::size_t i = 0; i < rows.count; ++i) {
        keys.push_back({std::string(rows[i][0].text()), static_cast<Oid>(rows[i][1].number),
                        std::string(rows[i][2].text()), rows[i][3].optional_text()});
    }
    return keys;
}

std::int64_t count_in_quarantine() {
    const WriteAs reader(bookkeeper());
    const SpiConnection connection;
    return query_once("SELECT pg_catalog.count(*) FROM sliding_sync.quarantine q "
                      "JOIN sliding_sync.homeservers h "
                      "ON h.schema_name OPERATOR(pg_catalog.=) q.schema_name")[0][0]
        .number;
}

void take_out(const Key& key) {
    const WriteAs writer(bookkeeper());
    const SpiConnection connection;
    run_once("DELETE FROM sliding_sync.quarantine q WHERE q.schema_name OPERATOR(pg_catalog.=) " +
             quoted_literal(key.schema) + " AND q.room_id OPERATOR(pg_catalog.=) " +
             quoted_literal(key.room_id) + " AND q.table_name OPERATOR(pg_catalog.<>) '' AND " +
             (key.user_id ? "q.user_id OPERATOR(pg_catalog.=) " + quoted_literal(*key.user_id)
                          : std::string("q.user_id IS NULL")));
}

// One that cannot even be removed stays noted: it stands in no other's way.
bool refresh_key(const Key& key) {
    bool is_done = false;
    const auto failure = run_in_subtransaction([&] {
        const auto homeserver = homeserver_in(key.namespace_oid);
        forget_failures(homeserver->schema, key.room_id);
        Changes changes;
        if (key.user_id) {
            changes.memberships.push_back({key.room_id, *key.user_id});
        } else {
            changes.rooms.push_back(whole_room(key.room_id));
        }
        is_done = refresh(*homeserver, std::move(changes), rules::RefreshMode::recompute).quarantined == 0;
    });
    return !failure && is_done;
}

}  // namespace

Repaired repair_quarantine() {
    call_pg([] { PreventCommandIfReadOnly("sliding_sync.repair_quarantine()"); });
    Repaired result;
    for (const Key& key : keys_in_quarantine()) {
        if (refresh_key(key)) {
            take_out(key);
            ++result.repaired;
        }
    }
    result.remaining = count_in_quarantine();
    return result;
}

}  // namespace sliding_sync
