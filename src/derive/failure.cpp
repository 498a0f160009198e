#include "derive/failure.hpp"

#include "server/settings.hpp"
#include "server/transaction.hpp"

namespace sliding_sync {

void or_remove(const std::function<void()>& work, const std::function<void()>& remove) {
    if (on_failure == static_cast<int>(OnFailure::error)) {
        work();
        return;
    }
    const ErrorData* const failure = run_in_subtransaction(work);
    if (failure == nullptr) {
        return;
    }
    const ErrorData* const second = run_in_subtransaction(remove);
    call_pg([&] {
        ereport(WARNING, errcode(failure->sqlerrcode),
                errmsg("sliding_sync could not refresh derived rows: %s", failure->message),
                second == nullptr ? errdetail("The rows concerned were removed; the transaction goes on.")
                                  : errdetail("Removing the rows concerned failed too: %s", second->message),
                errhint("SET sliding_sync.on_failure = error shows the failing statement."));
    });
}

}  // namespace sliding_sync
