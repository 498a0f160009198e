#include "live/bypassed_writes.hpp"

#include "derive/attachment.hpp"
#include "derive/quarantine.hpp"
#include "derive/write_as.hpp"
#include "pg/catalog.hpp"
#include "pg/spi.hpp"
#include "pg/transaction.hpp"
#include "pg/warning.hpp"
#include "shared/sql_text.hpp"

#include <set>

extern "C" {
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
}

namespace sliding_sync {

namespace {

// In the memory of the transaction: one for each table and reason.
struct BypassedWrite {
    Oid table;
    BypassReason reason;
    BypassedWrite* next;
};
BypassedWrite* bypassed_writes = nullptr;

using Notes = std::set<std::pair<std::string, BypassReason>>;

const char* word(BypassReason reason) noexcept {
    switch (reason) {
    case BypassReason::disabled:
        return "disabled";
    case BypassReason::replica:
        return "replica";
    case BypassReason::moved:
        return "moved";
    case BypassReason::deleted:
        break;
    }
    return "deleted";
}

// What cannot be noted is counted and told, for nobody would look for what changed.
void warn(const std::optional<PgError>& failure) {
    if (failure) {
        count_lost_record();
        warn_client(
            {failure->sqlstate(),
             std::string("sliding_sync could not note that tables were changed without its triggers: ") +
                 failure->message(),
             "", "Run CALL sliding_sync.backfill() afterwards."});
    }
}

// The schemas whose derived rows may be wrong by the change. A table is known by its number: it may have been
// moved, or its schema renamed, and both come back.
std::vector<std::string> schemas_of(const BypassedWrite& change) {
    static Statement find("find_coverage", sql_text(R"(
            SELECT w.schema_name
            FROM sliding_sync.trigger_coverage w
            WHERE $1::pg_catalog.oid %= ANY (w.tables))"),
                          {INT8OID});
    std::vector<std::string> schemas;
    const Oid schema = call_pg([&] { return get_rel_namespace(change.table); });
    if (change.reason != BypassReason::moved && OidIsValid(schema) && is_attached(schema)) {
        schemas.emplace_back(call_pg([&] { return get_namespace_name(schema); }));
    }
    const SpiConnection connection;
    const Rows rows = find.run(Arguments().number(change.table));
    for (std::size_t i = 0; i < rows.count; ++i) {
        schemas.emplace_back(rows[i][0].text());
    }
    return schemas;
}

Notes gather() {
    Notes notes;
    for (const BypassedWrite* noted = bypassed_writes; noted != nullptr; noted = noted->next) {
        for (std::string& schema : schemas_of(*noted)) {
            notes.emplace(std::move(schema), noted->reason);
        }
    }
    return notes;
}

bool run(Statement& statement, const std::string& schema, BypassReason reason) {
    const SpiConnection connection;
    statement.run(Arguments().text(schema).text(word(reason)));
    return statement.processed() > 0;
}

void write(const std::string& schema, BypassReason reason) {
    static Statement hold(
        "hold_bypassed_write",
        // a lock would be gone after the commit, and catch_up(), looking at an earlier moment, would take the
        // row away without having seen the changes: from a new version it gets 40001
        sql_text(R"(
            UPDATE sliding_sync.bypassed_writes u
            SET recorded_at = u.recorded_at
            WHERE u.write_id %= ANY (ARRAY(
                SELECT w.write_id
                FROM sliding_sync.bypassed_writes w
                WHERE w.schema_name %= $1 AND w.reason %= $2
                ORDER BY w.write_id LIMIT 1
                FOR UPDATE SKIP LOCKED)))"),
        {TEXTOID, TEXTOID});
    static Statement insert("insert_bypassed_write", R"(
            INSERT INTO sliding_sync.bypassed_writes (schema_name, reason)
            VALUES ($1, $2))",
                            {TEXTOID, TEXTOID});
    bool is_held = false;
    // at REPEATABLE READ the row may be gone by now
    const auto failure =
        run_in_subtransaction([&] { is_held = run(hold, schema, reason); }, Swallow::all_but_cancel);
    if (failure || !is_held) {
        const NoSecondWait no_second_wait;
        run(insert, schema, reason);
    }
}

Oid notes_owner() {
    return call_pg([]() -> Oid {
        const Oid schema = get_namespace_oid("sliding_sync", true);
        return OidIsValid(schema) ? relation_owner(get_relname_relid("bypassed_writes", schema)) : InvalidOid;
    });
}

}  // namespace

void record_bypassed_write(Oid table, BypassReason reason) {
    for (const BypassedWrite* noted = bypassed_writes; noted != nullptr; noted = noted->next) {
        if (noted->table == table && noted->reason == reason) {
            return;
        }
    }
    auto* const noted =
        static_cast<BypassedWrite*>(MemoryContextAlloc(TopTransactionContext, sizeof(BypassedWrite)));
    *noted = {table, reason, bypassed_writes};
    bypassed_writes = noted;
}

bool has_bypassed_writes() noexcept {
    return bypassed_writes != nullptr;
}

void write_bypassed_writes() {
    if (const Oid owner = notes_owner(); OidIsValid(owner)) {
        const WriteAs writer(owner);
        const ShortWaits short_waits;
        Notes notes;
        warn(run_in_subtransaction([&] { notes = gather(); }));
        for (const auto& [schema, reason] : notes) {
            const NoSecondWait no_second_wait;
            warn(run_in_subtransaction([&] { write(schema, reason); }));
        }
    }
    forget_bypassed_writes();
}

void forget_bypassed_writes() noexcept {
    bypassed_writes = nullptr;
}

}  // namespace sliding_sync
