#include "pg/procedure.hpp"

#include "pg/query_plan.hpp"

#include <algorithm>
#include <cmath>

extern "C" {
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "portability/instr_time.h"
#include "storage/latch.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"
}

namespace sliding_sync {

Procedure::Procedure(FunctionCallInfo call, const char* name) : exceptions_(std::uncaught_exceptions()) {
    const bool is_atomic = call->context == nullptr || !IsA(call->context, CallContext) ||
                           reinterpret_cast<CallContext*>(call->context)->atomic;
    if (is_atomic) {
        throw Error(ERRCODE_INVALID_TRANSACTION_TERMINATION,
                    std::string(name) + " cannot run inside a transaction block",
                    "It commits after each batch.", "Call it outside of BEGIN ... COMMIT.");
    }
    call_pg(
        [](PgFrame frame) { check_result(frame, SPI_connect_ext(SPI_OPT_NONATOMIC), "SPI_connect_ext"); });
}

Procedure::~Procedure() {
    if (std::uncaught_exceptions() == exceptions_) {
        SPI_finish();
    }
}

void Procedure::commit() {
    call_pg([] {
        SPI_commit();
        CHECK_FOR_INTERRUPTS();
    });
}

// Others set the latch for reasons of their own: a short sleep goes on until its time is over.
void Procedure::sleep(double seconds) {
    constexpr double longest_wait = 3600;  // a latch counts milliseconds in an int
    call_pg([&] {
        instr_time begin;
        INSTR_TIME_SET_CURRENT(begin);
        for (double left = seconds; left > 0;) {
            WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
                      static_cast<long>(std::ceil(std::min(left, longest_wait) * 1000)), PG_WAIT_EXTENSION);
            ResetLatch(MyLatch);
            CHECK_FOR_INTERRUPTS();
            instr_time now;
            INSTR_TIME_SET_CURRENT(now);
            INSTR_TIME_SUBTRACT(now, begin);
            left = seconds - INSTR_TIME_GET_DOUBLE(now);
        }
        CHECK_FOR_INTERRUPTS();
    });
}

}  // namespace sliding_sync
