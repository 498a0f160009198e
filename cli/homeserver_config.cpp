#include "cli/homeserver_config.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <fstream>
#include <yaml-cpp/yaml.h>

#include "cli/exit_code.hpp"

namespace sliding_sync::cli {

namespace {

Failure refused(const std::string& path, std::string_view why, std::string hint = {}) {
    return {ExitCode::error,
            fmt::format("could not use homeserver configuration \"{}\": {}", path, why),
            {},
            std::move(hint)};
}

YAML::Node load(const std::string& path) {
    std::ifstream file(path);
    if (!file) {
        throw refused(path, std::strerror(errno));
    }
    try {
        return YAML::Load(file);
    } catch (const YAML::Exception& error) {
        // the message alone might quote a line with a password
        throw refused(path, fmt::format("no valid YAML at line {}, column {}", error.mark.line + 1,
                                        error.mark.column + 1));
    }
}

bool holds_main(const YAML::Node& database) {
    const YAML::Node stores = database["data_stores"];
    return !stores || std::any_of(stores.begin(), stores.end(), [](const YAML::Node& store) {
        return store.as<std::string>("") == "main";
    });
}

YAML::Node main_database(const YAML::Node& config, const std::string& path) {
    if (!config.IsMap()) {
        throw refused(path, "it is no mapping");
    }
    if (const YAML::Node one = config["database"]; one && one.IsMap()) {
        return one;
    }
    if (const YAML::Node several = config["databases"]; several && several.IsMap()) {
        for (const auto& entry : several) {
            if (entry.second.IsMap() && holds_main(entry.second)) {
                return entry.second;
            }
        }
    }
    throw refused(path, "it has no database section",
                  "The section may be in another file that the homeserver is started with.");
}

// psycopg2 takes these besides libpq's own words; cp_* are of the homeserver's connection pool.
std::string keyword_of(const std::string& name) {
    return name == "database" ? "dbname" : name;
}

bool is_of_pool(const std::string& name) {
    return name.rfind("cp_", 0) == 0 || name == "connection_factory" || name == "cursor_factory" ||
           name == "async";
}

}  // namespace

ConnectionParameters database_of_homeserver(const std::string& path) {
    try {
        const YAML::Node database = main_database(load(path), path);
        const auto kind = database["name"].as<std::string>("");
        if (kind != "psycopg2" && kind != "psycopg") {
            throw refused(path,
                          fmt::format("its database is {}, not PostgreSQL", kind.empty() ? "unnamed" : kind));
        }
        ConnectionParameters parameters;
        const YAML::Node arguments = database["args"];
        if (!arguments || !arguments.IsMap()) {
            return parameters;
        }
        for (const auto& entry : arguments) {
            const auto name = entry.first.as<std::string>();
            if (!is_of_pool(name) && entry.second.IsScalar()) {
                const auto value = entry.second.as<std::string>();
                parameters[keyword_of(name)] = name == "dsn" ? std::string() : value;
            }
        }
        parameters.erase("dsn");
        return parameters;
    } catch (const YAML::Exception&) {
        throw refused(path, "its database section has an unexpected form");
    }
}

}  // namespace sliding_sync::cli
