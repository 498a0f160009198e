#include "cli/batch_boundary.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace sliding_sync::cli {

BatchBoundary::BatchBoundary(const Connector& connector) {
    try {
        session_ = connector.open();
    } catch (const ConnectionLost&) {
        session_.reset();
    }
}

std::vector<int> BatchBoundary::at_boundary(const std::vector<int>& pids) {
    if (!session_ || pids.empty()) {
        return pids;
    }
    try {
        const Rows rows = session_->run(fmt::format("SELECT pid, coalesce(backend_xid::pg_catalog.text, '') "
                                                    "AS batch FROM pg_catalog.pg_stat_activity "
                                                    "WHERE pid OPERATOR(pg_catalog.=) ANY (ARRAY[{}])",
                                                    fmt::join(pids, ", ")));
        std::vector<int> found;
        for (std::size_t i = 0; i < rows.values.size(); ++i) {
            const int pid = std::stoi(*rows.at(i, "pid"));
            const std::string batch = *rows.at(i, "batch");
            const auto [first, is_new] = first_seen_.emplace(pid, batch);
            if (batch.empty() || (!is_new && first->second != batch)) {
                found.push_back(pid);
            }
        }
        return found;
    } catch (const std::exception&) {  // it is lost: then they are, too
        return pids;
    }
}

}  // namespace sliding_sync::cli
