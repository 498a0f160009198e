// Which server and database, as psql is told it. Connection strings are read by libpq itself.
#pragma once

#include <map>
#include <optional>
#include <string>

namespace sliding_sync::cli {

/// By libpq's keywords.
using ConnectionParameters = std::map<std::string, std::string>;

struct ConnectionOptions {
    std::optional<std::string> host;
    std::optional<std::string> port;
    std::optional<std::string> user;
    std::optional<std::string> database;  ///< or a connection string, whose values count more than the others
    std::optional<std::string> synapse_config;
    bool never_prompt = false;
    bool always_prompt = false;
};

/// Raises Failure for a malformed connection string.
[[nodiscard]] ConnectionParameters connection_parameters(const ConnectionOptions& options);

/// Who connects: as the parameters say, or libpq's own rules.
[[nodiscard]] std::string user_of(const ConnectionParameters& parameters);

[[nodiscard]] std::string connection_string(const ConnectionParameters& parameters);

}  // namespace sliding_sync::cli
