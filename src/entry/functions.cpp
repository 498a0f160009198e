// The doors of the SQL-callable functions.
#include "admin/attach.hpp"
#include "admin/attached.hpp"
#include "admin/backfill.hpp"
#include "admin/catch_up.hpp"
#include "admin/repair.hpp"
#include "admin/repair_quarantine.hpp"
#include "live/flush.hpp"
#include "server/result_rows.hpp"

extern "C" {
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
}

namespace sliding_sync {

namespace {

std::optional<std::string> text_argument(FunctionCallInfo fcinfo, int number) {
    if (PG_ARGISNULL(number)) {
        return std::nullopt;
    }
    return std::string(call_pg([&]() -> const char* { return text_to_cstring(PG_GETARG_TEXT_PP(number)); }));
}

Datum text_result(const std::string& text) {
    return call_pg([&] {
        return PointerGetDatum(cstring_to_text_with_len(text.data(), static_cast<int>(text.size())));
    });
}

std::optional<std::int64_t> number_argument(FunctionCallInfo fcinfo, int number) {
    return PG_ARGISNULL(number) ? std::nullopt : std::optional<std::int64_t>(PG_GETARG_INT64(number));
}

bool boolean_argument(FunctionCallInfo fcinfo, int number) {
    return !PG_ARGISNULL(number) && PG_GETARG_BOOL(number);
}

// An interval in seconds, months counted as 30 days.
std::optional<double> seconds_argument(FunctionCallInfo fcinfo, int number) {
    if (PG_ARGISNULL(number)) {
        return std::nullopt;
    }
    const Interval& interval = *PG_GETARG_INTERVAL_P(number);
    return static_cast<double>(interval.time) / USECS_PER_SEC +
           (static_cast<double>(interval.day) + static_cast<double>(interval.month) * DAYS_PER_MONTH) *
               SECS_PER_DAY;
}

void require(bool condition, const char* message) {
    if (!condition) {
        throw Error(ERRCODE_INVALID_PARAMETER_VALUE, message);
    }
}

BackfillOptions backfill_options(FunctionCallInfo fcinfo) {
    BackfillOptions options;
    const AttachedHomeserver homeserver = attached_homeserver(text_argument(fcinfo, 0));
    refuse_subscribed(homeserver);
    options.namespace_oid = homeserver.namespace_oid;
    options.scope.schema = homeserver.schema;
    options.scope.what = parse_what(text_argument(fcinfo, 1).value_or("both"));
    options.scope.first_room = text_argument(fcinfo, 2);
    options.scope.last_room = text_argument(fcinfo, 3);
    options.batch_size = number_argument(fcinfo, 4);
    require(!options.batch_size || *options.batch_size > 0, "batch_size must be at least 1");
    options.batch_seconds = seconds_argument(fcinfo, 5).value_or(options.batch_seconds);
    require(options.batch_seconds > 0, "batch_time must be more than nothing");
    options.pause_seconds = seconds_argument(fcinfo, 6).value_or(0);
    require(options.pause_seconds >= 0, "pause must not be negative");
    options.share = PG_ARGISNULL(7) ? 1 : PG_GETARG_FLOAT8(7);
    require(options.share > 0 && options.share <= 1, "share must be more than 0, and 1 at most");
    options.max_seconds = seconds_argument(fcinfo, 8);
    require(!options.max_seconds || *options.max_seconds > 0, "max_duration must be more than nothing");
    options.restart = boolean_argument(fcinfo, 9);
    options.verbose = boolean_argument(fcinfo, 10);
    return options;
}

VerifyOptions verify_options(FunctionCallInfo fcinfo) {
    VerifyOptions options;
    options.homeserver = attached_homeserver(text_argument(fcinfo, 0));
    options.scope.schema = options.homeserver.schema;
    options.scope.what = parse_what(text_argument(fcinfo, 1).value_or("both"));
    options.scope.first_room = text_argument(fcinfo, 2);
    options.scope.last_room = text_argument(fcinfo, 3);
    options.room = text_argument(fcinfo, 4);
    options.member = text_argument(fcinfo, 5);
    options.sample = PG_ARGISNULL(6) ? 1 : PG_GETARG_FLOAT8(6);
    require(options.sample > 0 && options.sample <= 1, "sample must be more than 0, and 1 at most");
    options.history = PG_ARGISNULL(7) || PG_GETARG_BOOL(7);
    return options;
}

template <std::size_t count>
Datum row_result(FunctionCallInfo fcinfo, std::array<Datum, count> values, std::array<bool, count> nulls) {
    return call_pg([&]() -> Datum {
        TupleDesc description = nullptr;
        if (get_call_result_type(fcinfo, nullptr, &description) != TYPEFUNC_COMPOSITE) {
            raise_pg_error(ERRCODE_FEATURE_NOT_SUPPORTED,
                           "the function must be called where a row is expected");
        }
        return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(description), values.data(), nulls.data()));
    });
}

}  // namespace

}  // namespace sliding_sync

#define SLIDING_SYNC_FUNCTION(name)                                                                          \
    extern "C" {                                                                                             \
    PG_FUNCTION_INFO_V1(name);                                                                               \
    PGDLLEXPORT Datum name(PG_FUNCTION_ARGS);                                                                \
    }                                                                                                        \
    Datum name(PG_FUNCTION_ARGS)

SLIDING_SYNC_FUNCTION(sliding_sync_attach) {
    using namespace sliding_sync;
    return enter_cpp([&] { return text_result(attach(text_argument(fcinfo, 0))); });
}

SLIDING_SYNC_FUNCTION(sliding_sync_attach_at_creation) {
    using namespace sliding_sync;
    return enter_cpp([&]() -> Datum {
        attach_at_creation();
        return Datum{0};
    });
}

SLIDING_SYNC_FUNCTION(sliding_sync_detach) {
    using namespace sliding_sync;
    return enter_cpp([&] { return Int64GetDatum(detach(text_argument(fcinfo, 0))); });
}

SLIDING_SYNC_FUNCTION(sliding_sync_repair_quarantine) {
    using namespace sliding_sync;
    return enter_cpp([&] {
        const Repaired done = repair_quarantine();
        return row_result<2>(fcinfo, {Int64GetDatum(done.repaired), Int64GetDatum(done.left_over)},
                             {false, false});
    });
}

SLIDING_SYNC_FUNCTION(sliding_sync_backfill) {
    using namespace sliding_sync;
    return enter_cpp([&] {
        call_pg([] { PreventCommandIfReadOnly("sliding_sync.backfill()"); });
        const BackfillOptions options = backfill_options(fcinfo);
        Backfilled done;
        {
            Procedure procedure(fcinfo, "sliding_sync.backfill()");
            done = backfill(procedure, options);
        }
        return row_result<5>(fcinfo,
                             {Int64GetDatum(done.joined_rooms), Int64GetDatum(done.memberships),
                              Int64GetDatum(done.rows_written), Int64GetDatum(done.set_aside),
                              BoolGetDatum(done.is_finished)},
                             {false, false, false, false, false});
    });
}

SLIDING_SYNC_FUNCTION(sliding_sync_catch_up) {
    using namespace sliding_sync;
    return enter_cpp([&] {
        call_pg([] { PreventCommandIfReadOnly("sliding_sync.catch_up()"); });
        const AttachedHomeserver homeserver = attached_homeserver(text_argument(fcinfo, 0));
        refuse_subscribed(homeserver);
        const CaughtUp done =
            catch_up(homeserver, parse_catch_up_mode(text_argument(fcinfo, 1).value_or("repair")));
        return row_result<5>(fcinfo,
                             {BoolGetDatum(done.had_gap), Int64GetDatum(done.joined_rooms),
                              Int64GetDatum(done.memberships), Int64GetDatum(done.rows_written),
                              Int64GetDatum(done.set_aside)},
                             {false, false, false, false, false});
    });
}

SLIDING_SYNC_FUNCTION(sliding_sync_verify) {
    using namespace sliding_sync;
    return enter_cpp([&]() -> Datum {
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
    return enter_cpp([&]() -> Datum {
        const VerifyOptions options = verify_options(fcinfo);
        const bool dry_run = boolean_argument(fcinfo, 8);
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
        return row_result<3>(fcinfo,
                             {Int64GetDatum(static_cast<std::int64_t>(done.joined_rooms)),
                              Int64GetDatum(static_cast<std::int64_t>(done.memberships)),
                              Int64GetDatum(static_cast<std::int64_t>(done.rows_written))},
                             {false, false, false});
    });
}

SLIDING_SYNC_FUNCTION(sliding_sync_last_flush) {
    using namespace sliding_sync;
    return enter_cpp([&] {
        const LastFlush& last = last_flush();
        return row_result<4>(fcinfo,
                             {Int64GetDatum(static_cast<std::int64_t>(last.refreshed.joined_rooms)),
                              Int64GetDatum(static_cast<std::int64_t>(last.refreshed.memberships)),
                              Int64GetDatum(static_cast<std::int64_t>(last.refreshed.rows_written)),
                              Float8GetDatum(last.microseconds)},
                             {!last.any, !last.any, !last.any, !last.any});
    });
}

SLIDING_SYNC_FUNCTION(sliding_sync_library_version) {
    using namespace sliding_sync;
    return enter_cpp([&] { return text_result(SLIDING_SYNC_VERSION); });
}
