#include "derive/write_as.hpp"

#include "derive/deferred_triggers.hpp"

extern "C" {
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/acl.h"
}

namespace sliding_sync {

namespace {

int restricting = 0;  // how many restrictions are open

}  // namespace

WriteAs::Restriction::Restriction() noexcept {
    ++restricting;
}

WriteAs::Restriction::~Restriction() {
    --restricting;
}

WriteAs::Writable::Writable() noexcept : was_read_only_(XactReadOnly) {
    XactReadOnly = XactReadOnly && RecoveryInProgress();
}

WriteAs::Writable::~Writable() {
    XactReadOnly = was_read_only_;
}

WriteAs::WriteAs(Oid owner) : exceptions_(std::uncaught_exceptions()) {
    if (!OidIsValid(owner)) {
        throw Error(ERRCODE_UNDEFINED_TABLE, "the homeserver has no derived tables of its own", "",
                    "Call SELECT sliding_sync.attach().");
    }
    GetUserIdAndSecContext(&user_, &security_context_);
    has_rights_ = owner == user_ || call_pg([&] { return has_privs_of_role(user_, owner); });
    const bool is_own_session = owner == user_ && owner == GetSessionUserId();
    const bool is_within_another = owner == user_ && restricting > 0;
    SetUserIdAndSecContext(owner, security_context_ | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS |
                                      (is_own_session ? 0 : SECURITY_RESTRICTED_OPERATION));
    if (!is_own_session && !is_within_another) {
        restriction_.emplace();
        set_local("search_path", safe_search_path);
        fire_deferred_triggers_at_once(owner);
    }
}

WriteAs::~WriteAs() {
    SetUserIdAndSecContext(user_, security_context_);
    if (!has_rights_ && std::uncaught_exceptions() > exceptions_) {
        (void)hide_detail(true);
    }
}

bool WriteAs::is_restricting() noexcept {
    return restricting > 0;
}

}  // namespace sliding_sync
