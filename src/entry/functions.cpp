// The doors of the SQL-callable functions.
#include "admin/attach.hpp"
#include "admin/repair_quarantine.hpp"
#include "live/flush.hpp"

extern "C" {
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
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
