#include "pg/settings.hpp"

#include "guard/postgres.hpp"

extern "C" {
#include "access/xact.h"
#include "miscadmin.h"
#include "tcop/pquery.h"
#include "utils/guc.h"
#include "utils/portal.h"
}

namespace sliding_sync {

bool enabled = true;
bool logs_corrections = true;
char* injected_fault = nullptr;
int on_failure = static_cast<int>(OnFailure::quarantine);

namespace {

const config_enum_entry on_failure_options[] = {
    {"quarantine", static_cast<int>(OnFailure::quarantine), false},
    {"error", static_cast<int>(OnFailure::error), false},
    {nullptr, 0, false},
};

// A pooler gives the session, and the setting with it, to the homeserver. Within a transaction block it may
// be SET LOCAL, and what comes with the connection, a role or a function is meant to last as long as that.
bool warn_of_poolers(bool* value, void**, GucSource source) {
    if (!*value && source == PGC_S_SESSION && !IsTransactionBlock() && PortalIsValid(ActivePortal) &&
        ActivePortal->commandTag == CMDTAG_SET) {
        ereport(WARNING, errmsg("sliding_sync.enabled is off until this session ends"),
                errdetail("A connection pooler may hand the session to the homeserver."),
                errhint("Behind a pooler use BEGIN; SET LOCAL sliding_sync.enabled = off; ... COMMIT."));
    }
    return true;
}

// Each setting that is defined costs a connection a third of a million instructions, since a server up to 15
// sorts all of its own again: a homeserver's connection is spared one that only superusers can set.
bool may_inject_faults() {
    return !IsTransactionState() || GetConfigOption("sliding_sync.inject_fault", true, false) != nullptr ||
           superuser_arg(GetAuthenticatedUserId());
}

}  // namespace

void define_settings() {
    DefineCustomBoolVariable(
        "sliding_sync.enabled", "Lets the triggers of sliding_sync keep the derived tables.",
        "Turn it off in sessions that copy whole tables, and call catch_up() or backfill() afterwards.",
        &enabled, true, PGC_USERSET, 0, warn_of_poolers, nullptr, nullptr);
    DefineCustomEnumVariable(
        "sliding_sync.on_failure", "What a failing refresh does to the transaction it belongs to.",
        "quarantine: the derived rows concerned are removed and the transaction commits. "
        "error: the error is raised.",
        &on_failure, static_cast<int>(OnFailure::quarantine), on_failure_options, PGC_USERSET, 0, nullptr,
        nullptr, nullptr);
    DefineCustomBoolVariable("sliding_sync.log_corrections",
                             "Logs what a homeserver has written into a derived row and a commit corrected.",
                             "The log is the table sliding_sync.corrections.", &logs_corrections, true,
                             PGC_USERSET, 0, nullptr, nullptr, nullptr);
    if (!may_inject_faults()) {
        MarkGUCPrefixReserved("sliding_sync");
        return;
    }
    DefineCustomStringVariable(
        "sliding_sync.inject_fault", "Makes a statement of the extension fail, for tests.", nullptr,
        &injected_fault, "", PGC_SUSET, GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE, nullptr,
        nullptr, nullptr);
    MarkGUCPrefixReserved("sliding_sync");
}

}  // namespace sliding_sync
