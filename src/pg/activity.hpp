// What pg_stat_activity shows as a session's query while a long function runs.
#pragma once

#include <string>

namespace sliding_sync {

/// Shows how far a function is instead of the statement that called it, which is shown again at the end.
class Activity {
public:
    Activity() = default;
    ~Activity();
    Activity(const Activity&) = delete;
    Activity& operator=(const Activity&) = delete;

    /// Costs a copy into shared memory; nothing where the server does not track activities.
    void show(const std::string& text);

private:
    bool is_shown_ = false;
};

}  // namespace sliding_sync
