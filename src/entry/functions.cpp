// The entry points of the SQL-callable functions.
#include "admin/as_owner.hpp"
#include "admin/attach.hpp"
#include "admin/attached_homeserver.hpp"
#include "admin/backfill.hpp"
#include "admin/catch_up.hpp"
#include "admin/repair.hpp"
#include "admin/repair_quarantine.hpp"
#include "entry/sql_function.hpp"
#include "live/flush.hpp"
#include "pg/result_rows.hpp"
#include "pg/sql_call.hpp"

namespace sliding_sync {

namespace {

void require(bool condition, const char* message) {
    if (!condition) {
        throw Error(ERRCODE_INVALID_PARAMETER_VALUE, message);
    }
}

// The first four arguments.
void read_scope(FunctionCallInfo fcinfo, BackfillOptions& options) {
    const AttachedHomeserver homeserver = attached_homeserver(text_argument(fcinfo, 0));
    refuse_subscribed(homeserver);
    options.namespace_oid = homeserver.namespace_oid;
    options.scope = {homeserver.schema, parse_tables(text_argument(fcinfo, 1).value_or("both")),
                     text_argument(fcinfo, 2), text_argument(fcinfo, 3)};
}

void read_scope_of_run(BackfillOptions& options) {
    options.scope = scope_of_run(*options.run);
    const AttachedHomeserver homeserver = attached_homeserver(options.scope.schema);
    refuse_subscribed(homeserver);
    options.namespace_oid = homeserver.namespace_oid;
}

BackfillOptions backfill_options(FunctionCallInfo fcinfo) {
    BackfillOptions options;
    options.run = number_argument(fcinfo, 11);
    if (options.run) {
        read_scope_of_run(options);
    } else {
        read_scope(fcinfo, options);
    }
    options.batch_size = number_argument(fcinfo, 4);
    require(!options.batch_size || *options.batch_size > 0, "batch_size must be at least 1");
    options.batch_seconds = seconds_argument(fcinfo, 5).value_or(options.batch_seconds);
    require(options.batch_seconds > 0, "batch_time must be more than nothing");
    options.pause_seconds = seconds_argument(fcinfo, 6).value_or(0);
    require(options.pause_seconds >= 0, "pause must not be negative");
    options.share = real_argument(fcinfo, 7).value_or(1);
    require(options.share > 0 && options.share <= 1, "share must be more than 0, and 1 at most");
    options.max_seconds = seconds_argument(fcinfo, 8);
    require(!options.max_seconds || *options.max_seconds > 0, "max_duration must be more than nothing");
    options.restart = boolean_argument(fcinfo, 9).value_or(false);
    options.verbose = boolean_argument(fcinfo, 10);
    if (options.run && (text_argument(fcinfo, 0) || text_argument(fcinfo, 1).value_or("both") != "both" ||
                        text_argument(fcinfo, 2) || text_argument(fcinfo, 3) || options.restart)) {
        throw Error(ERRCODE_INVALID_PARAMETER_VALUE, "a run has its own schema, tables and rooms", "",
                    "Beside run_id leave out target_schema, tables, first_room, last_room and restart.");
    }
    return options;
}

BackfillOptions begin_backfill_options(FunctionCallInfo fcinfo) {
    BackfillOptions options;
    read_scope(fcinfo, options);
    options.restart = boolean_argument(fcinfo, 4).value_or(false);
    return options;
}

VerifyOptions verify_options(FunctionCallInfo fcinfo) {
    VerifyOptions options;
    options.homeserver = attached_homeserver(text_argument(fcinfo, 0));
    options.scope.schema = options.homeserver.schema;
    options.scope.tables = parse_tables(text_argument(fcinfo, 1).value_or("both"));
    options.scope.first_room = text_argument(fcinfo, 2);
    options.scope.last_room = text_argument(fcinfo, 3);
    options.room = text_argument(fcinfo, 4);
    options.member = text_argument(fcinfo, 5);
    options.sample = real_argument(fcinfo, 6).value_or(1);
    require(options.sample > 0 && options.sample <= 1, "sample must be more than 0, and 1 at most");
    options.history = boolean_argument(fcinfo, 7).value_or(true);
    return options;
}

}  // namespace

}  // namespace sliding_sync

SLIDING_SYNC_FUNCTION(sliding_sync_attach) {
    using namespace sliding_sync;
    return enter_cpp([&] {
        call_pg([] { PreventCommandDuringRecovery("sliding_sync.attach()"); });
        return text_result(fcinfo, attach(text_argument(fcinfo, 0)));
    });
}

SLIDING_SYNC_FUNCTION(sliding_sync_attach_at_creation) {
    using namespace sliding_sync;
    return enter_cpp([&]() -> Datum {
        const Datum nothing = void_result(fcinfo);
        attach_at_creation();
        return nothing;
    });
}

SLIDING_SYNC_FUNCTION(sliding_sync_repair_quarantine) {
    using namespace sliding_sync;
    return enter_cpp([&] {
        const Repaired done = repair_quarantine();
        return row_result(fcinfo, std::array{number_column(done.repaired), number_column(done.remaining)});
    });
}

SLIDING_SYNC_FUNCTION(sliding_sync_begin_backfill) {
    using namespace sliding_sync;
    return enter_long_call("", [&] {
        call_pg([] { PreventCommandIfReadOnly("sliding_sync.begin_backfill()"); });
        const BackfillOptions options = begin_backfill_options(fcinfo);
        std::int64_t run = 0;
        {
            Procedure procedure(fcinfo, "sliding_sync.begin_backfill()");
            run = begin_backfill(procedure, options);
        }
        return row_result(fcinfo, std::array{number_column(run)});
    });
}

SLIDING_SYNC_FUNCTION(sliding_sync_backfill) {
    using namespace sliding_sync;
    return enter_long_call("The same call goes on where this one stopped.", [&] {
        call_pg([] { PreventCommandIfReadOnly("sliding_sync.backfill()"); });
        const BackfillOptions options = backfill_options(fcinfo);
        Backfilled done;
        {
            Procedure procedure(fcinfo, "sliding_sync.backfill()");
            done = backfill(procedure, options);
        }
        return row_result(fcinfo,
                          std::array{number_column(done.joined_rooms), number_column(done.memberships),
                                     number_column(done.rows_written), number_column(done.quarantined),
                                     boolean_column(done.is_finished)});
    });
}

SLIDING_SYNC_FUNCTION(sliding_sync_catch_up) {
    using namespace sliding_sync;
    return enter_long_call("", [&] {
        call_pg([] { PreventCommandIfReadOnly("sliding_sync.catch_up()"); });
        const AttachedHomeserver homeserver = attached_homeserver(text_argument(fcinfo, 0));
        refuse_subscribed(homeserver);
        const CaughtUp done =
            catch_up(homeserver, parse_catch_up_mode(text_argument(fcinfo, 1).value_or("repair")));
        return row_result(fcinfo,
                          std::array{boolean_column(done.had_gap), number_column(done.joined_rooms),
                                     number_column(done.memberships), number_column(done.rows_written),
                                     number_column(done.quarantined)});
    });
}

SLIDING_SYNC_FUNCTION(sliding_sync_verify) {
    using namespace sliding_sync;
    return enter_long_call("", [&]() -> Datum {
        const VerifyOptions options = verify_options(fcinfo);
        ResultRows rows(fcinfo);
        verify(options, [&](const VerifiedSlice& slice) {
            for (const Finding& finding : slice.findings) {
                rows.add(std::array<std::optional<std::string>, 8>{
                    finding.table, finding.room_id, finding.user_id,
                    finding.column != nullptr ? std::optional<std::string>(finding.column) : std::nullopt,
                    finding.expected, finding.actual, reason_code(finding.reason),
                    severity_code(finding.severity)});
            }
        });
        return Datum{0};
    });
}

SLIDING_SYNC_FUNCTION(sliding_sync_repair) {
    using namespace sliding_sync;
    return enter_long_call("", [&]() -> Datum {
        VerifyOptions options = verify_options(fcinfo);
        options.function = "repair";
        const bool dry_run = boolean_argument(fcinfo, 8).value_or(false);
        if (!dry_run) {
            call_pg([] { PreventCommandIfReadOnly("sliding_sync.repair()"); });
            refuse_subscribed(options.homeserver);
        }
        ResultRows rows(fcinfo);
        repair(options, dry_run, [&](const RepairedRow& row) {
            rows.add(std::array<std::optional<std::string>, 6>{row.table, row.room_id, row.user_id,
                                                               row.reasons, row.before, row.after});
        });
        return Datum{0};
    });
}

SLIDING_SYNC_FUNCTION(sliding_sync_flush) {
    using namespace sliding_sync;
    return enter_cpp([&] {
        const Refreshed done = flush_now();
        return row_result(fcinfo,
                          std::array{number_column(done.joined_rooms), number_column(done.memberships),
                                     number_column(done.rows_written)});
    });
}

SLIDING_SYNC_FUNCTION(sliding_sync_last_flush) {
    using namespace sliding_sync;
    return enter_cpp([&] {
        const LastFlush& last = last_flush();
        const bool is_null = !last.any;
        return row_result(fcinfo, std::array{number_column(last.refreshed.joined_rooms, is_null),
                                             number_column(last.refreshed.memberships, is_null),
                                             number_column(last.refreshed.rows_written, is_null),
                                             real_column(last.microseconds, is_null)});
    });
}

SLIDING_SYNC_FUNCTION(sliding_sync_as_owner) {
    using namespace sliding_sync;
    return enter_cpp([&]() -> Datum {
        const auto schema = text_argument(fcinfo, 0);
        const auto command = text_argument(fcinfo, 1);
        const auto value = schema && command ? as_owner(*schema, *command) : std::nullopt;
        fcinfo->isnull = !value;
        return value ? text_result(fcinfo, *value) : Datum{0};
    });
}

SLIDING_SYNC_FUNCTION(sliding_sync_library_version) {
    using namespace sliding_sync;
    return enter_cpp([&] { return text_result(fcinfo, SLIDING_SYNC_VERSION); });
}
