#include "server/settings.hpp"

#include "guard/postgres.hpp"

extern "C" {
#include "utils/guc.h"
}

namespace sliding_sync {

bool enabled = true;
char* fault = nullptr;
int on_failure = static_cast<int>(OnFailure::quarantine);

namespace {

const config_enum_entry on_failure_options[] = {
    {"quarantine", static_cast<int>(OnFailure::quarantine), false},
    {"error", static_cast<int>(OnFailure::error), false},
    {nullptr, 0, false},
};

}  // namespace

void define_settings() {
    DefineCustomBoolVariable(
        "sliding_sync.enabled", "Lets the triggers of sliding_sync keep the derived tables.",
        "Turn it off in sessions that copy whole tables, and call catch_up() or backfill() afterwards.",
        &enabled, true, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomEnumVariable(
        "sliding_sync.on_failure", "What a failing refresh does to the transaction it belongs to.",
        "quarantine: the derived rows concerned are removed and the transaction commits. "
        "error: the error is raised.",
        &on_failure, static_cast<int>(OnFailure::quarantine), on_failure_options, PGC_USERSET, 0, nullptr,
        nullptr, nullptr);
    DefineCustomStringVariable(
        "sliding_sync.fault", "Makes a statement of the extension fail, for tests.", nullptr, &fault, "",
        PGC_SUSET, GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE, nullptr, nullptr, nullptr);
    MarkGUCPrefixReserved("sliding_sync");
}

}  // namespace sliding_sync
