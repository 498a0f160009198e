#include "server/fault.hpp"

#include "guard/boundary.hpp"
#include "server/settings.hpp"

namespace sliding_sync {

namespace {

int last_resorts = 0;

}  // namespace

bool are_faults_set() noexcept {
    return fault != nullptr && fault[0] != '\0';
}

void fail_on_purpose(const char* name) {
    if (!are_faults_set()) {
        return;
    }
    const bool everywhere = fault[0] == '!';
    const char* const wanted = everywhere ? fault + 1 : fault;
    const char* const colon = strchr(wanted, ':');
    const std::size_t length = colon != nullptr ? static_cast<std::size_t>(colon - wanted) : strlen(wanted);
    const bool is_meant =
        (length == 1 && wanted[0] == '*') || (strlen(name) == length && strncmp(wanted, name, length) == 0);
    if (!is_meant || (last_resorts > 0 && !everywhere)) {
        return;
    }
    int sqlstate = ERRCODE_INTERNAL_ERROR;
    if (colon != nullptr && strlen(colon + 1) == 5) {
        sqlstate = MAKE_SQLSTATE(colon[1], colon[2], colon[3], colon[4], colon[5]);
    }
    raise_pg_error(sqlstate, psprintf("fault injected at %s", name));
}

LastResort::LastResort() noexcept {
    ++last_resorts;
}

LastResort::~LastResort() {
    --last_resorts;
}

}  // namespace sliding_sync
