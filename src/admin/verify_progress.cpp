#include "admin/verify_progress.hpp"

#include "pg/catalog.hpp"

extern "C" {
#include "utils/lsyscache.h"
}

namespace sliding_sync {

void VerifyProgress::begin(const char* keys, const char* table) {
    keys_ = keys;
    done_ = 0;
    total_.reset();
    if (table != nullptr) {
        const double rows =
            call_pg([&] { return estimated_rows(get_relname_relid(table, homeserver_.namespace_oid)); });
        total_ = rows < 0 ? std::nullopt : std::optional(static_cast<std::int64_t>(rows));
    }
    INSTR_TIME_SET_CURRENT(begun_);
    show();
}

void VerifyProgress::add(std::size_t keys) {
    done_ += static_cast<std::int64_t>(keys);
    show();
}

// The view sliding_sync.progress reads it.
void VerifyProgress::show() {
    instr_time spent;
    INSTR_TIME_SET_CURRENT(spent);
    INSTR_TIME_SUBTRACT(spent, begun_);
    activity_.show(std::string("sliding_sync.") + function_ + "(): " + std::to_string(done_) +
                   (total_ ? " of " + std::to_string(std::max(*total_, done_)) : "") + " " + keys_ + " in " +
                   std::to_string(INSTR_TIME_GET_MILLISEC(spent) / 1000) + " s of schema " +
                   homeserver_.schema);
}

}  // namespace sliding_sync
