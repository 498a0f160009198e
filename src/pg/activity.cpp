#include "pg/activity.hpp"

#include "guard/boundary.hpp"

extern "C" {
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
}

namespace sliding_sync {

// Raises nothing.
Activity::~Activity() {
    if (is_shown_) {
        pgstat_report_activity(STATE_RUNNING, debug_query_string);
    }
}

void Activity::show(const std::string& text) {
    if (debug_query_string != nullptr) {
        is_shown_ = true;
        pgstat_report_activity(STATE_RUNNING, text.c_str());
    }
}

}  // namespace sliding_sync
