#include "cli/completion.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/help.hpp"

namespace sliding_sync::cli {

namespace {

constexpr const char* operations =
    "delete_room purge_history port_database upgrade downgrade remove_extension";

bool has_value(const CLI::Option& option) {
    return option.get_items_expected_max() > 0;
}

/// "auto always never" of auto|always|never; empty where anything goes.
std::string choices(const CLI::Option& option) {
    std::string type = has_value(option) ? option.get_type_name() : "";
    if (type.find('|') == std::string::npos) {
        return "";
    }
    std::replace(type.begin(), type.end(), '|', ' ');
    return type;
}

bool is_file(const CLI::Option& option) {
    return has_value(option) && option.get_type_name() == "FILE";
}

std::vector<std::string> names_of(const CLI::Option& option) {
    std::vector<std::string> names;
    for (const std::string& name : option.get_snames()) {
        names.push_back("-" + name);
    }
    for (const std::string& name : option.get_lnames()) {
        names.push_back("--" + name);
    }
    return names;
}

std::string all_names(const CLI::App& app) {
    std::string text;
    for (const CLI::Option* option : options_of(app)) {
        for (const std::string& name : names_of(*option)) {
            text += (text.empty() ? "" : " ") + name;
        }
    }
    return text;
}

// Options of the same name have the same values, whichever command they belong to.
std::vector<const CLI::Option*> every_option(const CLI::App& app) {
    std::vector<const CLI::Option*> all = options_of(app);
    for (const CLI::App* command : commands_of(app)) {
        for (const CLI::Option* option : options_of(*command)) {
            const auto names = names_of(*option);
            const bool is_known = std::any_of(
                all.begin(), all.end(), [&](const CLI::Option* known) { return names_of(*known) == names; });
            if (!is_known) {
                all.push_back(option);
            }
        }
    }
    return all;
}

std::string for_shell(std::string_view text) {
    std::string quoted;
    for (const char sign : text) {
        quoted += sign == '\'' ? "'\\''" : std::string(1, sign);
    }
    return quoted;
}

std::string bash_values(const CLI::App& app) {
    std::string text;
    for (const CLI::Option* option : every_option(app)) {
        if (!has_value(*option)) {
            continue;
        }
        const std::string reply =
            is_file(*option) ? "COMPREPLY=($(compgen -f -- \"$current\"))"
            : choices(*option).empty()
                ? ":"
                : fmt::format("COMPREPLY=($(compgen -W '{}' -- \"$current\"))", choices(*option));
        text += fmt::format("    {}) {}; return ;;\n", fmt::join(names_of(*option), "|"), reply);
    }
    return text;
}

}  // namespace

std::string bash_completion(const CLI::App& app) {
    std::string commands;
    std::string cases;
    for (const CLI::App* command : commands_of(app)) {
        commands += (commands.empty() ? "" : " ") + command->get_name();
        const std::string words = command->get_name() == "preflight" ? operations : "";
        cases += fmt::format("    {}) words='{}'; options='{}' ;;\n", command->get_name(), words,
                             all_names(*command));
    }
    return fmt::format(R"(# bash completion for sliding-sync
_sliding_sync() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
    local command= words= options= word
    if [[ $before == = ]]; then before=${{COMP_WORDS[COMP_CWORD-2]}}; fi
    if [[ $current == = ]]; then before=${{COMP_WORDS[COMP_CWORD-1]}} current=; fi
    case $before in
{}    esac
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case " {} " in *" $word "*) command=$word; break ;; esac
    done
    case $command in
    '') words='{}' ;;
{}    esac
    if [[ $current == -* ]]; then words="$options {}"; fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -F _sliding_sync sliding-sync
)",
                       bash_values(app), commands, commands, cases, all_names(app));
}

std::string zsh_completion(const CLI::App& app) {
    const auto arguments = [](const CLI::App& of) {
        std::string text;
        for (const CLI::Option* option : options_of(of)) {
            const std::string about = for_shell(option->get_description());
            const std::string list = choices(*option);
            const std::string value = !has_value(*option) ? ""
                                      : is_file(*option)  ? ":file:_files"
                                      : list.empty()      ? ":value: "
                                                          : fmt::format(":value:({})", list);
            for (const std::string& name : names_of(*option)) {
                const std::string sign = value.empty() ? "" : name[1] == '-' ? "=" : "+";
                std::string shown = about;
                std::replace(shown.begin(), shown.end(), ':', ',');
                text += fmt::format(" \\\n        '*{}{}[{}]{}'", name, sign, shown, value);
            }
        }
        return text;
    };
    std::string names;
    std::string cases;
    for (const CLI::App* command : commands_of(app)) {
        names += fmt::format("        '{}:{}'\n", command->get_name(), for_shell(command->get_description()));
        const std::string words =
            command->get_name() == "preflight" ? fmt::format(" '1:operation:({})'", operations) : "";
        cases += fmt::format("    {}) _arguments $shared{}{} '*:database: ' ;;\n", command->get_name(),
                             arguments(*command), words);
    }
    return fmt::format(R"(#compdef sliding-sync
_sliding_sync() {{
    local -a commands shared
    commands=(
{}    )
    shared=({})
    local curcontext=$curcontext state line
    _arguments -C $shared '1:command:->command' '*::word:->words'
    case $state in
    command) _describe command commands; return ;;
    esac
    case $line[1] in
{}    esac
}}
_sliding_sync "$@"
)",
                       names, arguments(app), cases);
}

std::string fish_completion(const CLI::App& app) {
    std::string text = "# fish completion for sliding-sync\ncomplete -c sliding-sync -f\n";
    const auto add_options = [&](const CLI::App& of, const std::string& condition) {
        for (const CLI::Option* option : options_of(of)) {
            std::string line = "complete -c sliding-sync" + condition;
            for (const std::string& name : option->get_snames()) {
                line += fmt::format(" -s '{}'", name);
            }
            for (const std::string& name : option->get_lnames()) {
                line += " -l " + name;
            }
            line += is_file(*option)            ? " -r -F"
                    : !choices(*option).empty() ? fmt::format(" -x -a '{}'", choices(*option))
                    : has_value(*option)        ? " -x"
                                                : "";
            text += fmt::format("{} -d '{}'\n", line, for_shell(option->get_description()));
        }
    };
    add_options(app, "");
    for (const CLI::App* command : commands_of(app)) {
        text += fmt::format("complete -c sliding-sync -n __fish_use_subcommand -a {} -d '{}'\n",
                            command->get_name(), for_shell(command->get_description()));
        add_options(*command, fmt::format(" -n '__fish_seen_subcommand_from {}'", command->get_name()));
    }
    return text + fmt::format("complete -c sliding-sync -n '__fish_seen_subcommand_from preflight' -a '{}'\n",
                              operations);
}

}  // namespace sliding_sync::cli
