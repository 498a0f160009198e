// How far a run of the backfill is, as the view sliding_sync.progress tells.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
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
    /// Before any session of this program works on the run.
    RunProgress(const Connector& connector, std::string run_id);

    /// Looks again when it is time to. Nothing until a batch has ended, and for roles that may not look.
    const std::optional<Progress>& look();
    const std::optional<Progress>& look_now();

    /// All that this run has done since the program began, also in calls that died; as far as this role may
    /// know.
    [[nodiscard]] std::optional<Totals> totals_of_run();

private:
    using Clock = std::chrono::steady_clock;
    struct Run {
        Totals done;
        std::int64_t keys_total = 0;
    };

    [[nodiscard]] std::optional<Run> read();
    Rows ask(const std::string& sql);
    void take(const Run& run);

    const Connector& connector_;
    std::string run_id_;
    std::unique_ptr<Database> session_;
    bool may_look_ = true;
    Totals before_;
    std::optional<Progress> progress_;
    Clock::time_point next_look_;
    std::deque<std::pair<Clock::time_point, std::int64_t>> lately_;
};

}  // namespace sliding_sync::cli
