// Standard error: messages as PostgreSQL's tools print them, and one line below them that shows how far
// something is.
#pragma once

#include <mutex>
#include <string>
#include <string_view>

namespace sliding_sync::cli {

struct Message {
    std::string severity;  ///< error, warning, notice
    std::string text;
    std::string detail;
    std::string hint;
};

/// Usable from any thread.
class Console {
public:
    void print(const Message& message);
    /// A remark, unless quiet.
    void say(std::string_view line);
    /// The SQL that is sent, for whoever asked to see it.
    void echo(std::string_view line);
    void set_quiet(bool quiet) noexcept {
        quiet_ = quiet;
    }
    /// On a terminal: the last line is this one until the next call; an empty one takes it away.
    void show_status(std::string_view line);

private:
    void erase_status();
    void draw_status();

    std::mutex mutex_;
    std::string status_;
    bool is_drawn_ = false;
    bool quiet_ = false;
};

/// The program has one standard error.
[[nodiscard]] Console& console();

}  // namespace sliding_sync::cli
