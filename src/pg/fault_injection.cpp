#include "pg/fault_injection.hpp"

#include "pg/settings.hpp"

namespace sliding_sync {

namespace {

int last_resorts = 0;

}  // namespace

bool is_injecting_faults() noexcept {
    return injected_fault != nullptr && injected_fault[0] != '\0';
}

void inject_fault(PgFrame, const char* name) {
    if (!is_injecting_faults()) {
        return;
    }
    const bool everywhere = injected_fault[0] == '!';
    const char* const expected = everywhere ? injected_fault + 1 : injected_fault;
    const char* const colon = strchr(expected, ':');
    const std::size_t length =
        colon != nullptr ? static_cast<std::size_t>(colon - expected) : strlen(expected);
    const bool is_meant = (length == 1 && expected[0] == '*') ||
                          (strlen(name) == length && strncmp(expected, name, length) == 0);
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
