// Where a session of the backfill may be ended without losing work.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cli/session.hpp"

namespace sliding_sync::cli {

/// Each batch is a transaction of its own: once its number has changed, what was in hand is committed.
class BatchBoundary {
public:
    explicit BatchBoundary(const Connector& connector);

    /// Of these sessions, those whose batch has ended since they were first asked about; all when nobody can
    /// tell.
    [[nodiscard]] std::vector<int> at_boundary(const std::vector<int>& pids);

private:
    std::unique_ptr<Database> session_;
    std::map<int, std::string> first_seen_;
};

}  // namespace sliding_sync::cli
