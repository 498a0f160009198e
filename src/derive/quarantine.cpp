#include "derive/quarantine.hpp"

#include "derive/attachment.hpp"
#include "derive/write_as.hpp"
#include "pg/transaction.hpp"

extern "C" {
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "utils/lsyscache.h"
}

namespace sliding_sync {

namespace {

Oid owner_of(Oid relation) {
    return call_pg([&] { return relation_owner(relation); });
}

// While the schema has another name, or its attachment is gone for a while, no reader can see that rows are
// absent when it comes back, unless the note has the name that the tables were covered by
// (docs/architecture.md#coverage).
std::vector<std::string> covered_names(Oid owner, Oid namespace_oid) {
    static Statement find("find_covered_names", sql_text(R"(
                              SELECT w.schema_name
                              FROM sliding_sync.trigger_coverage w
                              WHERE w.tables %&& ARRAY(SELECT c.oid
                                  FROM pg_catalog.pg_class c WHERE c.relkind %= 'r'
                                  AND c.relnamespace::pg_catalog.int8 %= $1))"),
                          {INT8OID});
    const WriteAs reader(owner);
    const SpiConnection connection;
    const Rows rows = find.run(Arguments().number(namespace_oid));
    std::vector<std::string> names;
    for (std::size_t i = 0; i < rows.count; ++i) {
        names.emplace_back(rows[i][0].text());
    }
    return names;
}

void insert_notes(Oid owner, const std::string& schema_name, const char* derived_table,
                  std::span<const QuarantineKey> keys, QuarantineReason reason, const Failure& failure) {
    static Statement insert("insert_quarantine",
                            sql_text(
                                R"(
                INSERT INTO sliding_sync.quarantine (schema_name, table_name, room_id, user_id, reason,
                    sqlstate, message)
                SELECT $1, $2, k.room_id, k.user_id, $5, $6, $7
                FROM ROWS FROM (pg_catalog.unnest($3), pg_catalog.unnest($4)) k(room_id, user_id)
                WHERE NOT EXISTS (SELECT FROM sliding_sync.quarantine q WHERE q.schema_name %= $1
                    AND q.table_name %= $2 AND q.room_id %= k.room_id
                    AND COALESCE(q.user_id, '') %= COALESCE(k.user_id, '') AND q.reason %= $5
                    AND q.sqlstate %= $6
                -- a run that has begun forgets it, and may have passed by what this one is about
                AND NOT EXISTS (SELECT FROM sliding_sync.runs r WHERE r.finished_at IS NULL
                    AND q.entry_id %= ANY (r.failed_lookups))
                -- a note that another transaction is about to take out does not stand for this one
                FOR KEY SHARE SKIP LOCKED))"),
                            {TEXTOID, TEXTOID, TEXTARRAYOID, TEXTARRAYOID, TEXTOID, TEXTOID, TEXTOID});
    std::vector<std::string_view> room_ids;
    std::vector<std::optional<std::string_view>> user_ids;
    for (const QuarantineKey& key : keys) {
        room_ids.push_back(key.room_id);
        user_ids.push_back(key.user_id);
    }
    const WriteAs writer(owner);
    const SpiConnection connection;
    const std::string sqlstate = call_pg([&]() -> const char* { return unpack_sql_state(failure.sqlstate); });
    insert.run(Arguments()
                   .text(schema_name)
                   .text(derived_table)
                   .texts(room_ids)
                   .texts(user_ids)
                   .text(reason_code(reason))
                   .text(sqlstate)
                   .text(failure.message));
}

}  // namespace

Oid extension_relation(const char* name) {
    return call_pg([&]() -> Oid {
        const Oid schema = get_namespace_oid("sliding_sync", true);
        return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
    });
}

const char* reason_code(QuarantineReason reason) noexcept {
    switch (reason) {
    case QuarantineReason::refresh_failed:
        return "refresh_failed";
    case QuarantineReason::circuit_breaker_open:
        return "circuit_breaker_open";
    case QuarantineReason::unreadable:
        return "unreadable";
    case QuarantineReason::stale:
        return "stale";
    case QuarantineReason::lookup_failed:
        return "lookup_failed";
    }
    return "";
}

void quarantine(const HomeserverSchema& schema, const char* derived_table,
                std::span<const QuarantineKey> keys, QuarantineReason reason, const Failure& failure) {
    const Oid owner = owner_of(extension_relation("quarantine"));
    if (!OidIsValid(owner)) {
        return;
    }
    // whoever has locked our tables, such as an administrator in the middle of an update, costs the note
    const auto note = [&] {
        if (is_attached(schema.namespace_oid)) {
            insert_notes(owner, schema.unquoted_name, derived_table, keys, reason, failure);
            return;
        }
        for (const std::string& name : covered_names(owner, schema.namespace_oid)) {
            insert_notes(owner, name, derived_table, keys, reason, failure);
        }
    };
    const ShortWaits short_waits;
    const NoSecondWait no_second_wait;
    if (run_in_subtransaction(note, Swallow::all_but_cancel)) {
        count_lost_record();
    }
}

// A sequence counts whatever becomes of the transaction, and no lock on a table stands in its way.
void count_lost_record() {
    const Oid counter = extension_relation("lost_records");
    const Oid owner = owner_of(counter);
    if (!OidIsValid(owner)) {
        return;
    }
    (void)run_in_subtransaction(
        [&] {
            const WriteAs writer(owner);
            call_pg([&] { nextval_internal(counter, false); });
        },
        Swallow::all_but_cancel);
}

}  // namespace sliding_sync
