// A procedure that ends transactions in its middle.
#pragma once

#include "guard/boundary.hpp"

extern "C" {
#include "fmgr.h"
}

namespace sliding_sync {

/// Open while a procedure runs. Between two commits everything is one transaction; nothing that belongs to a
/// transaction (an SpiConnection, a WriteAs, a subtransaction) may be open when it ends.
class Procedure {
public:
    /// Refuses a CALL inside a transaction block (2D000); `name` is what the error calls the procedure.
    Procedure(FunctionCallInfo call, const char* name);
    ~Procedure();
    Procedure(const Procedure&) = delete;
    Procedure& operator=(const Procedure&) = delete;

    /// Commits, and begins the next transaction.
    void commit();

    /// Waits outside of any work, wakes up for a cancel or shutdown request and raises it.
    void sleep(double seconds);

private:
    int exceptions_;
};

}  // namespace sliding_sync
