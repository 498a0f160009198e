#include "admin/run_log.hpp"

#include "admin/trigger_coverage.hpp"
#include "derive/homeserver_schema.hpp"
#include "derive/write_as.hpp"
#include "pg/key_locks.hpp"
#include "pg/spi.hpp"
#include "shared/sql_text.hpp"

extern "C" {
#include "catalog/pg_type.h"
}

namespace sliding_sync {

namespace {

// Enough for many sessions to share, few enough for a glance.
constexpr int ranges_per_table = 32;
constexpr int memberships_ranges_from = 1000;  // rooms are done first: clients see them first

// Splits the rooms of the scope evenly, read as the owner of the homeserver's tables; a range of memberships
// holds those of its rooms. The first position is that of the room before, since positions are exclusive.
struct PlannedRange {
    std::string after_room;
    std::optional<std::string> up_to_room;
    std::int64_t items = 0;
};

std::vector<PlannedRange> plan_ranges(const RunScope& scope, const HomeserverSchema& schema,
                                      bool is_of_rooms) {
    const std::string sql = sql_text(
        R"(
            WITH numbered AS (
                SELECT r.room_id, pg_catalog.row_number() OVER (ORDER BY r.room_id) AS n,
                    pg_catalog.count(*) OVER () AS total
                FROM %S.rooms r
                WHERE ($1 IS NULL OR r.room_id %>= $1) AND ($2 IS NULL OR r.room_id %<= $2)),
            last_rooms AS (
                SELECT room_id, total FROM numbered WHERE n %% GREATEST(total %/ $3, 1) %= 0 AND n %< total
                UNION ALL SELECT NULL, (SELECT pg_catalog.max(total) FROM numbered)),
            ranges AS (
                SELECT room_id, COALESCE(total, 0) AS total,
                    pg_catalog.row_number() OVER (ORDER BY room_id NULLS LAST) AS n,
                    COALESCE(
                        pg_catalog.lag(room_id) OVER (ORDER BY room_id NULLS LAST),
                        (SELECT p.room_id FROM %S.rooms p WHERE p.room_id %< $1
                         ORDER BY p.room_id DESC LIMIT 1),
                        '') AS before,
                    pg_catalog.count(*) OVER () AS ranges
                FROM last_rooms)
            SELECT before, COALESCE(room_id, $2),
                -- memberships of a room on average, by the statistics
                (total %* CASE WHEN $4 THEN 1 ELSE (
                    SELECT GREATEST(l.reltuples, 0) %/ GREATEST(r.reltuples, 1)
                    FROM pg_catalog.pg_class l, pg_catalog.pg_class r
                    WHERE l.oid %= pg_catalog.to_regclass($5) AND r.oid %= pg_catalog.to_regclass($6))
                END %/ ranges)::bigint
            FROM ranges
            ORDER BY n)",
        schema.name);
    const WriteAs reader(schema.derived_owner);
    const SpiConnection connection;
    const Rows rows = query_once(sql, {TEXTOID, TEXTOID, INT8OID, BOOLOID, TEXTOID, TEXTOID},
                                 Arguments()
                                     .optional_text(scope.first_room)
                                     .optional_text(scope.last_room)
                                     .number(ranges_per_table)
                                     .boolean(is_of_rooms)
                                     .text(schema.name + ".local_current_membership")
                                     .text(schema.name + ".rooms"));
    std::vector<PlannedRange> ranges;
    for (std::size_t i = 0; i < rows.count; ++i) {
        ranges.push_back({std::string(rows[i][0].text()), rows[i][1].optional_text(), rows[i][2].number});
    }
    return ranges;
}

void make_ranges(std::int64_t run, const RunScope& scope, const HomeserverSchema& schema, bool is_of_rooms) {
    const std::vector<PlannedRange> ranges = plan_ranges(scope, schema, is_of_rooms);
    const WriteAs writer(bookkeeper());
    const SpiConnection connection;
    std::int64_t number = is_of_rooms ? 0 : memberships_ranges_from;
    for (const PlannedRange& range : ranges) {
        query_once("INSERT INTO sliding_sync.run_ranges (run_id, range_number, table_name, after_room, "
                   "up_to_room, position_room, items_total) VALUES ($1, $2, $3, $4, $5, $4, $6)",
                   {INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID, INT8OID},
                   Arguments()
                       .number(run)
                       .number(++number)
                       .text(is_of_rooms ? joined_rooms_table : membership_snapshots_table)
                       .text(range.after_room)
                       .optional_text(range.up_to_room)
                       .number(range.items));
    }
}

// A run that goes on, or a new one without ranges.
Run find_or_insert_run(const RunScope& scope, const HomeserverSchema& schema, bool restart,
                       bool verifies_history) {
    const WriteAs writer(bookkeeper());
    const SpiConnection connection;
    const std::vector<Oid> types(4, TEXTOID);
    const auto arguments = [&] {
        return Arguments()
            .text(scope.schema)
            .text(word(scope.tables))
            .optional_text(scope.first_room)
            .optional_text(scope.last_room);
    };
    const std::string same = sql_text(R"(
            r.schema_name %= $1 AND r.tables %= $2 AND r.first_room IS NOT DISTINCT FROM $3
                AND r.last_room IS NOT DISTINCT FROM $4 AND r.finished_at IS NULL)");
    if (restart) {
        const Rows replaced =
            query_once("DELETE FROM sliding_sync.runs r WHERE " + same + " RETURNING r.verifies_history",
                       types, arguments());
        for (std::size_t i = 0; i < replaced.count; ++i) {
            verifies_history = verifies_history || replaced[i][0].boolean();
        }
    } else {
        const Rows open = query_once("SELECT r.run_id FROM sliding_sync.runs r WHERE " + same +
                                         " ORDER BY r.run_id LIMIT 1",
                                     types, arguments());
        if (open.count > 0) {
            return {open[0][0].number, false};
        }
    }
    run_once(sql_text(R"(
        DELETE FROM sliding_sync.runs r
        WHERE r.finished_at %< (pg_catalog.now() %- '90 days'::pg_catalog.interval))"));
    // A note that a transaction holds on to stands for what the run may not see of that one. One whose holder
    // has ended may stand for what another transaction, maybe a prepared one, has redacted or rejected
    // unseen.
    const bool sees_all = try_lock_out_blind_changes(schema.namespace_oid);
    const std::int64_t run = query_once(sql_text(R"(
            WITH lookups AS (SELECT q.entry_id FROM sliding_sync.quarantine q WHERE q.schema_name %= $1
                AND q.table_name %= '' FOR UPDATE SKIP LOCKED)
            INSERT INTO sliding_sync.runs (schema_name, tables, first_room, last_room, verifies_history,
                failed_lookups)
            VALUES ($1, $2, $3, $4, $5, ARRAY(SELECT l.entry_id FROM lookups l WHERE $6))
            RETURNING run_id)"),
                                        {TEXTOID, TEXTOID, TEXTOID, TEXTOID, BOOLOID, BOOLOID},
                                        arguments().boolean(verifies_history).boolean(sees_all))[0][0]
                                 .number;
    return {run, true};
}

}  // namespace

const char* word(DerivedTableSet tables) noexcept {
    switch (tables) {
    case DerivedTableSet::joined_rooms:
        return "joined_rooms";
    case DerivedTableSet::memberships:
        return "memberships";
    case DerivedTableSet::both:
        break;
    }
    return "both";
}

DerivedTableSet parse_tables(const std::string& text) {
    for (const DerivedTableSet tables :
         {DerivedTableSet::joined_rooms, DerivedTableSet::memberships, DerivedTableSet::both}) {
        if (text == word(tables)) {
            return tables;
        }
    }
    throw Error(ERRCODE_INVALID_PARAMETER_VALUE, "\"" + text + "\" names nothing to work on", "",
                "Use joined_rooms, memberships or both.");
}

RunScope scope_of_run(std::int64_t run) {
    const WriteAs reader(bookkeeper());
    const SpiConnection connection;
    const Rows rows = query_once(sql_text("SELECT r.schema_name, r.tables, r.first_room, r.last_room "
                                          "FROM sliding_sync.runs r WHERE r.run_id %= $1",
                                          ""),
                                 {INT8OID}, Arguments().number(run));
    if (rows.count == 0) {
        throw Error(
            ERRCODE_UNDEFINED_OBJECT, "run " + std::to_string(run) + " does not exist",
            "It was begun anew, or its homeserver was detached, or it was finished long ago.",
            "CALL sliding_sync.begin_backfill() tells the number of the unfinished run, or begins one.");
    }
    enum Column : std::size_t { schema_name, tables, first_room, last_room };
    const auto row = rows[0];
    return {std::string(row[schema_name].text()), parse_tables(std::string(row[tables].text())),
            row[first_room].optional_text(), row[last_room].optional_text()};
}

void lock_runs() {
    const WriteAs writer(bookkeeper());
    const SpiConnection connection;
    run_once("LOCK TABLE sliding_sync.runs IN SHARE ROW EXCLUSIVE MODE");
}

Run open_run(const RunScope& scope, const HomeserverSchema& schema, bool restart, bool verifies_history) {
    const Run run = find_or_insert_run(scope, schema, restart, verifies_history);
    if (run.is_new && scope.tables != DerivedTableSet::memberships) {
        make_ranges(run.id, scope, schema, true);
    }
    if (run.is_new && scope.tables != DerivedTableSet::joined_rooms) {
        make_ranges(run.id, scope, schema, false);
    }
    return run;
}

std::optional<Range> claim_range(std::int64_t run, std::int64_t preferred,
                                 std::span<const std::optional<std::int64_t>> avoided) {
    static Statement claim("claim_range", sql_text(R"(
            SELECT r.range_number, r.table_name %= $3, r.up_to_room, r.position_room, r.position_user
            FROM sliding_sync.run_ranges r
            WHERE r.run_id %= $1 AND NOT r.is_done
            ORDER BY pg_catalog.array_position($4, r.range_number::bigint) NULLS FIRST,
                r.range_number %<> $2, r.range_number
            LIMIT 1
            FOR NO KEY UPDATE SKIP LOCKED)"),
                           {INT8OID, INT4OID, TEXTOID, INT8ARRAYOID});
    const WriteAs writer(bookkeeper());
    const SpiConnection connection;
    const Rows rows =
        claim.run(Arguments().number(run).number(preferred).text(joined_rooms_table).numbers(avoided));
    if (rows.count == 0) {
        return std::nullopt;
    }
    enum Column : std::size_t { number, is_of_rooms, up_to_room, position_room, position_user };
    const auto row = rows[0];
    return Range{row[number].number, row[is_of_rooms].boolean(), row[up_to_room].optional_text(),
                 std::string(row[position_room].text()), std::string(row[position_user].text())};
}

void record_batch(std::int64_t run, const Range& range, bool is_done, const BatchResult& batch) {
    static Statement note(
        "record_batch", sql_text(R"(
            UPDATE sliding_sync.run_ranges r
            SET position_room = $3, position_user = $4, is_done = $5, items_done = r.items_done %+ $6,
                rows_written = r.rows_written %+ $7, quarantined = r.quarantined %+ $8,
                work_seconds = r.work_seconds %+ $9, throttled_seconds = r.throttled_seconds %+ $10,
                updated_at = pg_catalog.clock_timestamp(), pid = pg_catalog.pg_backend_pid()
            WHERE r.run_id %= $1 AND r.range_number %= $2)"),
        {INT8OID, INT4OID, TEXTOID, TEXTOID, BOOLOID, INT8OID, INT8OID, INT8OID, FLOAT8OID, FLOAT8OID});
    const WriteAs writer(bookkeeper());
    const SpiConnection connection;
    note.run(Arguments()
                 .number(run)
                 .number(range.number)
                 .text(range.position_room)
                 .text(range.position_user)
                 .boolean(is_done)
                 .number(batch.items)
                 .number(batch.rows_written)
                 .number(batch.quarantined)
                 .real(batch.work_seconds)
                 .real(batch.throttled_seconds));
}

RunProgress read_progress(std::int64_t run) {
    static Statement sum("run_progress", sql_text(R"(
            SELECT COALESCE(pg_catalog.sum(r.items_done), 0)::bigint,
                COALESCE(pg_catalog.sum(r.items_total), 0)::bigint
            FROM sliding_sync.run_ranges r WHERE r.run_id %= $1)"),
                         {INT8OID});
    const WriteAs reader(bookkeeper());
    const SpiConnection connection;
    const auto row = sum.run(Arguments().number(run))[0];
    return {row[0].number, row[1].number};
}

bool has_open_ranges(std::int64_t run) {
    static Statement open("open_ranges", sql_text(R"(
            SELECT EXISTS (SELECT FROM sliding_sync.run_ranges r WHERE r.run_id %= $1 AND NOT r.is_done))"),
                          {INT8OID});
    const WriteAs reader(bookkeeper());
    const SpiConnection connection;
    return open.run(Arguments().number(run))[0][0].boolean();
}

bool exists(std::int64_t run) {
    static Statement exists("run_exists",
                            sql_text("SELECT EXISTS (SELECT FROM sliding_sync.runs r WHERE r.run_id %= $1)"),
                            {INT8OID});
    const WriteAs reader(bookkeeper());
    const SpiConnection connection;
    return exists.run(Arguments().number(run))[0][0].boolean();
}

bool verifies_history(std::int64_t run) {
    const WriteAs reader(bookkeeper());
    const SpiConnection connection;
    const Rows rows =
        query_once(sql_text("SELECT r.verifies_history FROM sliding_sync.runs r WHERE r.run_id %= $1"),
                   {INT8OID}, Arguments().number(run));
    return rows.count > 0 && rows[0][0].boolean();
}

bool finish_run(std::int64_t run) {
    static Statement finish("finish_run", sql_text(R"(
                                UPDATE sliding_sync.runs r
                                SET finished_at = pg_catalog.clock_timestamp()
                                WHERE r.run_id %= $1 AND r.finished_at IS NULL)"),
                            {INT8OID});
    // A run over everything has done what others have left, and looked at what a failed look-up could not
    // name.
    static Statement finish_parts("finish_parts",
                                  sql_text(
                                      R"(
                UPDATE sliding_sync.runs r
                SET finished_at = pg_catalog.clock_timestamp()
                FROM sliding_sync.runs x
                WHERE x.run_id %= $1 AND x.tables %= 'both' AND x.first_room IS NULL
                    AND x.last_room IS NULL AND r.schema_name %= x.schema_name AND r.finished_at IS NULL
                    AND r.started_at %< x.started_at)"),
                                  {INT8OID});
    static Statement forget_lookups("forget_lookups", sql_text(R"(
            DELETE FROM sliding_sync.quarantine q USING sliding_sync.runs x
            WHERE x.run_id %= $1 AND x.tables %= 'both' AND x.first_room IS NULL AND x.last_room IS NULL
                AND q.entry_id %= ANY (x.failed_lookups))"),
                                    {INT8OID});
    const WriteAs writer(bookkeeper());
    const SpiConnection connection;
    finish.run(Arguments().number(run));
    const bool is_first = finish.processed() > 0;
    if (is_first) {
        finish_parts.run(Arguments().number(run));
        forget_lookups.run(Arguments().number(run));
    }
    return is_first;
}

}  // namespace sliding_sync
