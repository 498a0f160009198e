// What is seen of a backfill: a bar on a terminal, a line every few seconds elsewhere, or a JSON object a
// second.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "cli/run_progress.hpp"

namespace sliding_sync::cli {

/// `[=====>    ]  42 %  1,234/s  567 rows  00:12 left`, just so wide where there is room for a bar.
[[nodiscard]] std::string bar_text(const std::optional<Progress>& progress, std::size_t columns);

class ProgressDisplay {
public:
    explicit ProgressDisplay(const Options& options);

    void update(const std::optional<Progress>& progress);
    /// Takes the bar away.
    void end();

private:
    enum class Kind { none, bar, lines, json };

    void draw_bar(const std::optional<Progress>& progress);

    Kind kind_ = Kind::none;
    std::chrono::steady_clock::time_point next_;
    std::int64_t shown_ = 0;  ///< number of the look
    std::string drawn_;
};

}  // namespace sliding_sync::cli
