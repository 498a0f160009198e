#include "cli/progress_display.hpp"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "cli/output.hpp"
#include "cli/printable.hpp"
#include "cli/terminal.hpp"

namespace sliding_sync::cli {

namespace {

using namespace std::chrono_literals;

constexpr auto bar_interval = 100ms;
constexpr auto json_interval = 1s;
constexpr auto line_interval = 5s;
constexpr std::size_t narrowest_bar = 8;
// Left free for the ^C that a terminal writes behind the bar: it must not go into the next line.
constexpr std::size_t margin = 3;

std::string duration(double seconds) {
    const auto all = static_cast<std::int64_t>(std::min(seconds, 3.6e8));
    if (all >= 3600) {
        return fmt::format("{}:{:02}:{:02}", all / 3600, all / 60 % 60, all % 60);
    }
    return fmt::format("{:02}:{:02}", all / 60, all % 60);
}

double share_of(const Progress& progress) {
    return progress.keys_total > 0 ? std::min(1.0, static_cast<double>(progress.of_run.keys()) /
                                                       static_cast<double>(progress.keys_total))
                                   : 1.0;
}

// The total is an estimate: 100 % is not said before the run is finished.
std::int64_t percent(const Progress& progress) {
    return std::min<std::int64_t>(static_cast<std::int64_t>(share_of(progress) * 100), 99);
}

std::string left(const Progress& progress) {
    return progress.eta_seconds ? duration(*progress.eta_seconds) + " left" : "--:-- left";
}

std::string line_text(const Progress& progress) {
    return fmt::format("{} %, {} of {} keys, {} rows written, {} keys a second, {}", percent(progress),
                       grouped(progress.of_run.keys()), grouped(progress.keys_total),
                       grouped(progress.done.rows_written), grouped(std::llround(progress.rate)),
                       left(progress));
}

std::string json_text(const Progress& progress) {
    nlohmann::ordered_json event{{"event", "progress"},
                                 {"keys_done", progress.of_run.keys()},
                                 {"keys_total", progress.keys_total},
                                 {"rows_written", progress.done.rows_written},
                                 {"rate", std::round(progress.rate * 10) / 10},
                                 {"eta_seconds", nullptr}};
    if (progress.eta_seconds) {
        event["eta_seconds"] = std::round(*progress.eta_seconds * 10) / 10;
    }
    return event.dump();
}

}  // namespace

std::string bar_text(const std::optional<Progress>& progress, std::size_t columns) {
    if (!progress) {
        return std::string("working ...").substr(0, columns);
    }
    const std::string text = fmt::format(" {:>3} %  {} keys/s  {} rows  {}", percent(*progress),
                                         grouped(std::llround(progress->rate)),
                                         grouped(progress->done.rows_written), left(*progress));
    if (columns < text.size() + narrowest_bar + 2) {
        return text.substr(1, columns);
    }
    const std::size_t width = columns - 2 - text.size();
    const auto filled = static_cast<std::size_t>(share_of(*progress) * static_cast<double>(width));
    std::string bar(filled, '=');
    bar += filled < width ? ">" : "";
    bar.resize(width, ' ');
    return fmt::format("[{}]{}", bar, text);
}

ProgressDisplay::ProgressDisplay(const Options& options) {
    if (options.json) {
        kind_ = Kind::json;
    } else if (!options.quiet && options.shows_progress) {
        kind_ = terminal_size(STDERR_FILENO) ? Kind::bar : Kind::lines;
    }
    next_ = std::chrono::steady_clock::now() + (kind_ == Kind::lines ? line_interval : 0s);
}

void ProgressDisplay::update(const std::optional<Progress>& progress) {
    const auto now = std::chrono::steady_clock::now();
    if (kind_ == Kind::none || now < next_) {
        return;
    }
    if (kind_ == Kind::bar) {
        next_ = now + bar_interval;
        draw_bar(progress);
    } else if (progress && progress->number != shown_) {
        shown_ = progress->number;
        next_ = now + (kind_ == Kind::json ? std::chrono::seconds(json_interval) : line_interval);
        if (kind_ == Kind::json) {
            print_line(json_text(*progress));
        } else {
            console().say(line_text(*progress));
        }
    }
}

void ProgressDisplay::draw_bar(const std::optional<Progress>& progress) {
    const std::size_t columns = terminal_size(STDERR_FILENO).value_or(TerminalSize{80, 24}).columns;
    const std::string bar = bar_text(progress, std::max(columns, margin + 1) - margin);
    if (bar != drawn_) {
        console().show_status(bar);
        drawn_ = bar;
    }
}

void ProgressDisplay::end() {
    if (kind_ == Kind::bar) {
        console().show_status("");
    }
    kind_ = Kind::none;
}

}  // namespace sliding_sync::cli
