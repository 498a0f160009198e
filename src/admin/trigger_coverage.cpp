#include "admin/trigger_coverage.hpp"

#include "derive/write_as.hpp"
#include "pg/catalog.hpp"
#include "pg/spi.hpp"
#include "shared/sql_text.hpp"

extern "C" {
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "utils/lsyscache.h"
}

namespace sliding_sync {

namespace {

std::uint64_t run(Statement& statement, const std::string& schema) {
    const WriteAs writer(bookkeeper());
    const SpiConnection connection;
    statement.run(Arguments().text(schema));
    return statement.processed();
}

void forget_bypassed_writes(const std::string& schema) {
    static Statement forget("forget_unwatched",
                            // a transaction that still runs holds on to the row that stands for it
                            sql_text(
                                R"(
                DELETE FROM sliding_sync.bypassed_writes u
                WHERE u.write_id %= ANY (ARRAY(SELECT w.write_id FROM sliding_sync.bypassed_writes w
                    WHERE w.schema_name %= $1 FOR UPDATE SKIP LOCKED)))"),
                            {TEXTOID});
    run(forget, schema);
}

}  // namespace

Oid bookkeeper() {
    const Oid owner = call_pg([]() -> Oid {
        return relation_owner(
            get_relname_relid("trigger_coverage", get_namespace_oid("sliding_sync", false)));
    });
    if (!OidIsValid(owner)) {
        throw Error(ERRCODE_UNDEFINED_TABLE, "the extension's own tables are missing", "",
                    "Run ALTER EXTENSION sliding_sync UPDATE.");
    }
    return owner;
}

TriggerCoverage read_trigger_coverage(const std::string& schema) {
    static Statement read("read_watched",
                          sql_text(
                              R"(
                SELECT s.tables_changed, s.has_bypassed_writes, pg_catalog.cardinality(s.coverage_gaps) %> 0
                FROM sliding_sync.schemas s
                WHERE s.schema_name %= $1 AND EXISTS (SELECT FROM sliding_sync.trigger_coverage w
                    WHERE w.schema_name %= $1))"),
                          {TEXTOID});
    const WriteAs reader(bookkeeper());
    const SpiConnection connection;
    const Rows rows = read.run(Arguments().text(schema));
    if (rows.count == 0) {
        return {};
    }
    const auto row = rows[0];
    return {true, row[0].boolean(), row[1].boolean(), row[2].boolean()};
}

void begin_coverage(const std::string& schema) {
    restart_coverage(schema);
    static Statement forget("forget_complete", sql_text(R"(
                                UPDATE sliding_sync.trigger_coverage w
                                SET complete_at = NULL, caught_up_at = NULL
                                WHERE w.schema_name %= $1)"),
                            {TEXTOID});
    run(forget, schema);
}

void restart_coverage(const std::string& schema) {
    static Statement mark("watch_again",
                          sql_text(
                              R"(
                INSERT INTO sliding_sync.trigger_coverage (schema_name, fingerprint, tables, lost_records,
                    counted_records, counted_before)
                SELECT $1, sliding_sync.coverage_fingerprint($1),
                    ARRAY(SELECT t.table_oid FROM sliding_sync.homeserver_tables t WHERE t.schema_name %= $1),
                    -- a transaction counts before it commits: what is counted is only seen when none of that
                    -- time is running
                    CASE WHEN w.schema_name IS NULL OR s.are_all_done THEN $2
                        WHEN s.is_next_look THEN w.counted_records ELSE w.lost_records END,
                    CASE WHEN s.are_all_done THEN NULL
                        WHEN s.is_next_look OR w.counted_before IS NULL THEN $2 ELSE w.counted_records END,
                    CASE WHEN s.are_all_done THEN NULL
                        WHEN s.is_next_look OR w.counted_before IS NULL
                        THEN pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
                        ELSE w.counted_before END
                FROM (VALUES (1)) one (n)
                LEFT JOIN sliding_sync.trigger_coverage w ON w.schema_name %= $1,
                LATERAL (SELECT w.lost_records IS NOT DISTINCT FROM $2 OR NOT EXISTS (
                        SELECT FROM pg_catalog.pg_snapshot_xip(pg_catalog.pg_current_snapshot())
                    ) AS are_all_done,
                    w.counted_before %<= pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())
                        AS is_next_look) s
                ON CONFLICT (schema_name) DO UPDATE
                SET fingerprint = excluded.fingerprint, tables = excluded.tables,
                    lost_records = excluded.lost_records, counted_records = excluded.counted_records,
                    counted_before = excluded.counted_before)"),
                          {TEXTOID, INT8OID});
    // the count first, and then the snapshot that tells who is running
    static Statement count(
        "count_lost_records",
        "SELECT CASE WHEN l.is_called THEN l.last_value ELSE 0 END FROM sliding_sync.lost_records l", {});
    forget_bypassed_writes(schema);
    const WriteAs writer(bookkeeper());
    const SpiConnection connection;
    const std::int64_t lost = count.run(Arguments())[0][0].number;
    mark.run(Arguments().text(schema).number(lost));
}

bool record_complete(const std::string& schema) {
    static Statement note("record_complete", sql_text(R"(
            UPDATE sliding_sync.trigger_coverage w
            SET complete_at = pg_catalog.clock_timestamp(), caught_up_at = pg_catalog.clock_timestamp()
            WHERE w.schema_name %= $1 AND w.fingerprint %= sliding_sync.coverage_fingerprint($1))"),
                          {TEXTOID});
    return run(note, schema) > 0;
}

void record_caught_up(const std::string& schema) {
    static Statement note("record_caught_up", sql_text(R"(
            UPDATE sliding_sync.trigger_coverage w
            SET caught_up_at = pg_catalog.clock_timestamp()
            WHERE w.schema_name %= $1 AND w.fingerprint %= sliding_sync.coverage_fingerprint($1))"),
                          {TEXTOID});
    run(note, schema);
}

}  // namespace sliding_sync
