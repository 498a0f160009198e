#include "server/procedure.hpp"

extern "C" {
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
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
    call_pg([] {
        if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT) {
            raise_pg_error(ERRCODE_INTERNAL_ERROR, "SPI_connect_ext failed");
        }
    });
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

void Procedure::sleep(double seconds) {
    call_pg([&] {
        const auto milliseconds = static_cast<long>(seconds * 1000);
        if (milliseconds > 0) {
            WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, milliseconds,
                      PG_WAIT_EXTENSION);
            ResetLatch(MyLatch);
        }
        CHECK_FOR_INTERRUPTS();
    });
}

}  // namespace sliding_sync
