#include "cli/connection_string.hpp"

#include <libpq-fe.h>
#include <memory>
#include <string_view>

#include "cli/exit_code.hpp"
#include "cli/homeserver_config.hpp"

namespace sliding_sync::cli {

namespace {

// The rule of libpq and psql.
bool is_connection_string(const std::string& text) {
    return text.rfind("postgresql://", 0) == 0 || text.rfind("postgres://", 0) == 0 ||
           text.find('=') != std::string::npos;
}

void read_connection_string(const std::string& text, ConnectionParameters& into) {
    char* message = nullptr;
    const std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> parsed(
        PQconninfoParse(text.c_str(), &message), PQconninfoFree);
    const std::unique_ptr<char, decltype(&PQfreemem)> freed(message, PQfreemem);
    if (!parsed) {
        // libpq quotes what it could not read, which may be a password
        throw Failure(
            ExitCode::usage, "the connection string is malformed", {},
            "It is 'keyword=value ...' or 'postgresql://user@host:port/database?keyword=value', with "
            "percent signs before what a URI cannot have.");
    }
    for (const PQconninfoOption* option = parsed.get(); option->keyword != nullptr; ++option) {
        if (option->val != nullptr) {
            into[option->keyword] = option->val;
        }
    }
}

void set(ConnectionParameters& parameters, const char* keyword, const std::optional<std::string>& value) {
    if (value) {
        parameters[keyword] = *value;
    }
}

}  // namespace

ConnectionParameters connection_parameters(const ConnectionOptions& options) {
    ConnectionParameters parameters;
    if (options.synapse_config) {
        parameters = database_of_homeserver(*options.synapse_config);
    }
    set(parameters, "host", options.host);
    set(parameters, "port", options.port);
    set(parameters, "user", options.user);
    if (options.database && is_connection_string(*options.database)) {
        read_connection_string(*options.database, parameters);
    } else {
        set(parameters, "dbname", options.database);
    }
    return parameters;
}

std::string user_of(const ConnectionParameters& parameters) {
    if (const auto user = parameters.find("user"); user != parameters.end()) {
        return user->second;
    }
    const std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> defaults(PQconndefaults(),
                                                                                PQconninfoFree);
    for (const PQconninfoOption* option = defaults.get(); option != nullptr && option->keyword != nullptr;
         ++option) {
        if (std::string_view(option->keyword) == "user" && option->val != nullptr) {
            return option->val;
        }
    }
    return "";
}

std::string connection_string(const ConnectionParameters& parameters) {
    std::string text;
    for (const auto& [keyword, value] : parameters) {
        text += (text.empty() ? "" : " ") + keyword + "='";
        for (const char sign : value) {
            text += sign == '\'' || sign == '\\' ? std::string{'\\', sign} : std::string{sign};
        }
        text += "'";
    }
    return text;
}

}  // namespace sliding_sync::cli
