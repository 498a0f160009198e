// How far verify() is, and what calls it: as pg_stat_activity and the view sliding_sync.progress tell.
#pragma once

#include "admin/attached_homeserver.hpp"
#include "pg/activity.hpp"

extern "C" {
#include "portability/instr_time.h"
}

namespace sliding_sync {

class VerifyProgress {
public:
    /// `function` is the name of what was called, without its schema.
    VerifyProgress(const AttachedHomeserver& homeserver, const char* function)
        : homeserver_(homeserver), function_(function) {}

    /// Of rooms or memberships, which is what the session is at from now on. `table`: what holds one row for
    /// each of them, or nothing where only some of them are looked at.
    void begin(const char* keys, const char* table);

    void add(std::size_t keys);

private:
    void show();

    const AttachedHomeserver& homeserver_;
    const char* function_;
    const char* keys_ = "";
    std::int64_t done_ = 0;
    std::optional<std::int64_t> total_;  // an estimate
    instr_time begun_{};
    Activity activity_;
};

}  // namespace sliding_sync
