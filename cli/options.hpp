// What was asked for on the command line.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/connection_string.hpp"

namespace sliding_sync::cli {

struct Options {
    std::vector<std::string> arguments;  ///< as they were typed
    std::string generated;               ///< a document of the program itself: man, bash, zsh, fish
    std::string command;
    std::vector<std::string> words;  ///< of the command itself: WHAT, USER, ROOM
    ConnectionOptions connection;
    std::optional<std::string> schema;

    bool echo = false;
    bool quiet = false;
    bool verbose = false;
    bool dry_run = false;
    bool json = false;
    std::string color = "auto";

    // which rows
    std::string tables = "both";
    std::optional<std::string> first_room;
    std::optional<std::string> last_room;
    std::optional<std::string> room;
    std::optional<std::string> member;
    double sample = 1;
    bool skips_history = false;
    bool without_extension = false;
    bool trusts_owner = false;

    // how
    bool preview = false;
    std::string mode = "repair";
    int jobs = 1;
    std::optional<long long> batch_size;
    std::optional<std::string> batch_time;
    std::optional<std::string> pause;
    std::optional<double> share;
    std::optional<std::string> max_duration;
    bool restart = false;
    double retry_seconds = 300;
    bool shows_progress = true;

    // list
    std::optional<bool> is_dm;
    std::optional<bool> is_encrypted;
    std::optional<bool> is_invite;
    std::vector<std::string> room_types;
    std::vector<std::string> not_room_types;
    std::vector<std::string> tags;
    std::vector<std::string> not_tags;
    std::vector<std::string> spaces;
    std::optional<std::string> room_name_like;
    std::string sort_by = "recency";
    std::optional<long long> range_start;
    std::optional<long long> range_end;
};

}  // namespace sliding_sync::cli
