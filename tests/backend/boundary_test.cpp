// The boundary inside a running backend: every way an error can cross it, as SQL functions.
// Called by tests/test_boundary.py.
#include <malloc.h>

#include <stdexcept>

#include "guard/boundary.hpp"
#include "pg/transaction.hpp"

extern "C" {
#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init();
}

namespace sliding_sync {

namespace {

// Lives in every C++ frame that an error has to cross; one that is still counted afterwards was jumped over.
class Canary {
public:
    Canary() noexcept {
        ++alive;
    }
    ~Canary() {
        --alive;
    }
    Canary(const Canary&) = delete;
    Canary& operator=(const Canary&) = delete;

    static inline int alive = 0;
};

struct NotAnException {};

[[noreturn]] void throw_a(std::string_view kind) {
    const Canary canary;
    if (kind == "bad_alloc") {
        throw std::bad_alloc();
    }
    if (kind == "number") {
        throw 7;
    }
    if (kind == "object") {
        throw NotAnException();
    }
    if (kind == "runtime_error") {
        throw std::runtime_error("the text of the exception");
    }
    if (kind == "length_error") {
        std::string().resize(std::string().max_size() + 1);
    }
    if (kind == "error") {
        throw Error(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "the message", "The detail.", "The hint.");
    }
    if (kind == "plain_error") {
        throw Error(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "100% of the message");
    }
    if (kind == "long_error") {
        std::string long_text;
        while (long_text.size() < 5000) {
            long_text += "é";
        }
        throw Error(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, long_text, long_text, long_text);
    }
    throw std::invalid_argument("no such kind");
}

// C++ -> C -> server, with an object in the frame above the C calls. An error comes up in the memory of the
// connection, which is gone when somebody reads it.
void run_sql(const char* sql) {
    const Canary canary;
    call_pg([] { SPI_connect(); });
    call_pg([&] {
        const int code = SPI_execute(sql, false, 0);
        if (code < 0) {
            raise_pg_error(ERRCODE_INTERNAL_ERROR, SPI_result_code_string(code));
        }
        SPI_finish();
    });
}

const char* text_argument(FunctionCallInfo fcinfo, int number) {
    return call_pg([&]() -> const char* { return text_to_cstring(PG_GETARG_TEXT_PP(number)); });
}

// What became of a subtransaction, told after other statements had a chance to overwrite it.
Datum told_later(const std::optional<PgError>& error) {
    run_sql("SELECT repeat('something else', 100)");
    return call_pg([&] {
        return CStringGetTextDatum(
            error ? psprintf("%s %s", unpack_sql_state(error->sqlstate()), error->message()) : "none");
    });
}

// What the next commit of this session throws; empty: nothing.
std::string before_commit;

void transaction_callback(XactEvent event, void*) {
    if (event != XACT_EVENT_PRE_COMMIT || before_commit.empty()) {
        return;
    }
    enter_cpp([] {
        const Canary canary;
        const std::string kind = std::exchange(before_commit, {});
        if (kind == "server_error") {
            run_sql("SELECT 1 / 0");
        } else {
            throw_a(kind);
        }
    });
}

}  // namespace

}  // namespace sliding_sync

void _PG_init() {
    RegisterXactCallback(sliding_sync::transaction_callback, nullptr);
}

#define BOUNDARY_TEST(name)                                                                                  \
    extern "C" {                                                                                             \
    PG_FUNCTION_INFO_V1(name);                                                                               \
    PGDLLEXPORT Datum name(PG_FUNCTION_ARGS);                                                                \
    }                                                                                                        \
    Datum name(PG_FUNCTION_ARGS)

BOUNDARY_TEST(run_sql) {
    using namespace sliding_sync;
    return enter_cpp([&] {
        const Canary canary;
        run_sql(text_argument(fcinfo, 0));
        return Datum{0};
    });
}

BOUNDARY_TEST(throw_exception) {
    using namespace sliding_sync;
    return enter_cpp([&]() -> Datum {
        const Canary canary;
        throw_a(text_argument(fcinfo, 0));
    });
}

// What the rules forbid: the error jumps over the canary. Shows that the count can be wrong.
BOUNDARY_TEST(raise_over_a_destructor) {
    using namespace sliding_sync;
    return enter_cpp([&]() -> Datum {
        const Canary canary;
        raise_pg_error(ERRCODE_INTERNAL_ERROR, "not through call_pg");
    });
}

BOUNDARY_TEST(run_sql_in_subtransaction) {
    using namespace sliding_sync;
    return enter_cpp([&] {
        const Canary canary;
        const char* const sql = text_argument(fcinfo, 0);
        return told_later(run_in_subtransaction([&] { run_sql(sql); }));
    });
}

// Runs SQL and then throws, both inside a subtransaction.
BOUNDARY_TEST(throw_in_subtransaction) {
    using namespace sliding_sync;
    return enter_cpp([&] {
        const Canary canary;
        const char* const sql = text_argument(fcinfo, 0);
        const char* const kind = text_argument(fcinfo, 1);
        return told_later(run_in_subtransaction([&] {
            run_sql(sql);
            throw_a(kind);
        }));
    });
}

// How many of `count` errors were caught, all in one call.
BOUNDARY_TEST(catch_many) {
    using namespace sliding_sync;
    return enter_cpp([&] {
        int caught = 0;
        for (int i = 0; i < PG_GETARG_INT32(0); ++i) {
            caught += run_in_subtransaction([] { run_sql("SELECT 1 / 0"); }) ? 1 : 0;
        }
        return Int32GetDatum(caught);
    });
}

BOUNDARY_TEST(throw_before_commit) {
    using namespace sliding_sync;
    return enter_cpp([&] {
        before_commit = text_argument(fcinfo, 0);
        return Datum{0};
    });
}

BOUNDARY_TEST(canaries) {
    return Int32GetDatum(sliding_sync::Canary::alive);
}

// Bytes that this backend holds on the heap, the server's memory contexts and C++ together.
BOUNDARY_TEST(heap_in_use) {
    const struct mallinfo2 heap = mallinfo2();
    return Int64GetDatum(static_cast<int64>(heap.uordblks + heap.hblkhd));
}
