#include "derive/failure.hpp"

#include "server/settings.hpp"
#include "server/transaction.hpp"

namespace sliding_sync {

void or_remove(const std::function<void()>& work, const std::function<void()>& remove) {
    if (on_failure == static_cast<int>(OnFailure::error)) {
        work();
        return;
    }
    ErrorData* const failure = run_in_subtransaction(work);
    if (failure == nullptr) {
        return;
    }
    if (run_in_subtransaction(remove) != nullptr) {
        throw PgError(failure);  // a row that may be wrong can neither be mended nor removed
    }
    call_pg([&] {
        ereport(WARNING, errcode(failure->sqlerrcode),
                errmsg("sliding_sync could not refresh derived rows: %s", failure->message),
                errdetail("The rows concerned were removed; the transaction goes on."),
                errhint("SET sliding_sync.on_failure = error shows the failing statement."));
    });
}

}  // namespace sliding_sync
