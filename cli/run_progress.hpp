// How far a run of the backfill is, as the view sliding_sync.progress tells.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "cli/session.hpp"

namespace sliding_sync::cli {

/// What a call of backfill() returns, without whether it has finished.
struct Totals {
    std::int64_t joined_rooms = 0;
    std::int64_t memberships = 0;
    std::int64_t rows_written = 0;
    std::int64_t quarantined = 0;

    Totals& operator+=(const Totals& other) noexcept;
    [[nodiscard]] Totals minus(const Totals& other) const noexcept;
    [[nodiscard]] std::int64_t keys() const noexcept {
        return joined_rooms + memberships;
    }
};

struct Progress {
    std::int64_t number = 0;  ///< counts the looks
    Totals done;              ///< since this program began
    Totals of_run;            ///< with what earlier calls have done
    std::int64_t keys_total = 0;
    double rate = 0;  ///< keys a second, lately
    std::optional<double> eta_seconds;
};

class RunProgress {
public:
    RunProgress(const Connector& connector, const Options& options);

    /// Looks again when it is time to. Nothing until a batch of these sessions has ended, and for roles that may not look.
    const std::optional<Progress>& look(const std::vector<int>& pids);
    const std::optional<Progress>& look_now(const std::vector<int>& pids);

    /// All that this run has done since the program began, also in calls that died; as far as this role may know.
    [[nodiscard]] std::optional<Totals> totals_of_run();

    [[nodiscard]] bool has_seen_run() const noexcept {
        return run_.has_value();
    }

private:
    using Clock = std::chrono::steady_clock;
    struct Run {
        Totals done;
        std::int64_t keys_total = 0;
        bool is_ours = false;
    };

    [[nodiscard]] std::map<std::string, Run> read(const std::vector<int>& pids);
    Rows ask(const std::string& sql);
    void take(const Run& run);

    const Connector& connector_;
    const Options& options_;
    std::unique_ptr<Database> session_;
    bool may_look_ = true;
    std::map<std::string, Totals> before_;  ///< by run
    std::optional<std::string> run_;
    std::optional<Progress> progress_;
    Clock::time_point next_look_;
    std::deque<std::pair<Clock::time_point, std::int64_t>> lately_;
};

}  // namespace sliding_sync::cli
