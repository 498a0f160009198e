#include "cli/command_again.hpp"

#include "cli/command_line.hpp"

namespace sliding_sync::cli {

namespace {

std::string quoted(const std::string& word) {
    constexpr const char* plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";
    if (!word.empty() && word.find_first_not_of(plain) == std::string::npos) {
        return word;
    }
    std::string text = "'";
    for (const char sign : word) {
        text += sign == '\'' ? "'\\''" : std::string(1, sign);
    }
    return text + "'";
}

/// The connection string that this argument ends in, without its password; the argument itself when it has
/// none.
std::string without_password(const std::string& argument, const ConnectionOptions& connection) {
    if (!connection.database) {
        return argument;
    }
    const auto begin = argument.rfind(*connection.database);
    if (begin == std::string::npos || begin + connection.database->size() != argument.size()) {
        return argument;
    }
    ConnectionOptions only;
    only.database = connection.database;
    ConnectionParameters parameters = connection_parameters(only);
    if (parameters.erase("password") == 0) {
        return argument;
    }
    return argument.substr(0, begin) + connection_string(parameters);
}

}  // namespace

std::string command_again(const Options& options) {
    std::string text = program_name;
    for (const std::string& argument : options.arguments) {
        if (argument != "--restart") {
            text += " " + quoted(without_password(argument, options.connection));
        }
    }
    return text;
}

}  // namespace sliding_sync::cli
