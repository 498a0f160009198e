#include "cli/help.hpp"

#include <fmt/format.h>

#include "cli/command_line.hpp"

namespace sliding_sync::cli {

namespace {

constexpr std::size_t about_column = 34;

std::string line(const std::string& left, const std::string& about) {
    if (left.size() + 3 > about_column) {
        return fmt::format("  {}\n{:{}}{}\n", left, "", about_column, about);
    }
    return fmt::format("  {:<{}}{}\n", left, about_column - 2, about);
}

std::string options_text(const CLI::App& app, const std::string& group) {
    std::string text;
    for (const CLI::Option* option : options_of(app)) {
        if (option->get_group() == group) {
            const OptionText texts = text_of(*option);
            text += line(texts.names, texts.about);
        }
    }
    return text.empty() ? text : fmt::format("\n{}:\n{}", group, text);
}

std::string shared_options(const CLI::App& app) {
    return options_text(app, "Connection options") + options_text(app, "General options");
}

std::string command_help(const CLI::App& app, const CLI::App& command) {
    std::string text =
        fmt::format("sliding-sync {}: {}\n\nUsage:\n  sliding-sync {} [OPTION]... {}\n", command.get_name(),
                    command.get_description(), command.get_name(), words_of(command));
    for (const CLI::Option* option : command.get_options()) {
        if (option->get_positional()) {
            text += line(option->get_name(true), option->get_description());
        }
    }
    return text + options_text(command, "Options") + shared_options(app);
}

std::string program_help(const CLI::App& app) {
    std::string text =
        fmt::format("{}\n\nUsage:\n  sliding-sync [COMMAND] [OPTION]... [DBNAME | URI]\n\nCommands:\n",
                    app.get_description());
    for (const CLI::App* command : commands_of(app)) {
        const std::string words = words_of(*command);
        const auto own = words.rfind("[DBNAME]");
        text +=
            line(fmt::format("{} {}", command->get_name(), words.substr(0, own)), command->get_description());
    }
    text += shared_options(app) + "\nExit status:\n";
    for (const ExitText& exit : exit_texts()) {
        text += line(std::to_string(exit.code), exit.about);
    }
    return text + "\n\"sliding-sync COMMAND --help\" lists a command's own options.\n";
}

}  // namespace

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
    std::vector<const CLI::App*> found;
    for (const CLI::App* command : app.get_subcommands({})) {
        found.push_back(command);
    }
    return found;
}

std::vector<const CLI::Option*> options_of(const CLI::App& app) {
    std::vector<const CLI::Option*> found;
    for (const CLI::Option* option : app.get_options()) {
        if (!option->get_positional() && !option->get_group().empty()) {
            found.push_back(option);
        }
    }
    return found;
}

OptionText text_of(const CLI::Option& option) {
    const bool has_value = option.get_items_expected_max() > 0;
    std::string names;
    for (const std::string& name : option.get_snames()) {
        names += fmt::format("{}-{}", names.empty() ? "" : ", ", name);
    }
    for (const std::string& name : option.get_lnames()) {
        names += fmt::format("{}--{}", names.empty() ? "" : ", ", name);
    }
    return {has_value ? names + "=" + option.get_type_name() : names, option.get_description()};
}

std::string words_of(const CLI::App& command) {
    for (const CLI::Option* option : command.get_options()) {
        if (option->get_positional() && option->get_name(true) != "DBNAME") {
            const bool has_room = command.get_name() == "explain-user";
            return option->get_name(true) + (has_room ? " [ROOM]" : "") + " [DBNAME]";
        }
    }
    return "[DBNAME]";
}

const std::vector<ExitText>& exit_texts() {
    static const std::vector<ExitText> texts{
        {0, "done"},
        {1, "an error, which standard error tells"},
        {2, "the command line is wrong"},
        {3, "verify found differences; ready said no"},
        {4, "a lock was not to be had in time"},
        {5, "versions of program, library and SQL differ"},
        {130, "interrupted"},
    };
    return texts;
}

std::string help_text(const CLI::App& app) {
    const auto named = app.get_subcommands();
    return named.empty() ? program_help(app) : command_help(app, *named.front());
}

}  // namespace sliding_sync::cli
