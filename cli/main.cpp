// sliding-sync: what an administrator types.

#include <CLI/CLI.hpp>
#include <exception>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "cli/command_line.hpp"
#include "cli/commands.hpp"
#include "cli/completion.hpp"
#include "cli/console.hpp"
#include "cli/help.hpp"
#include "cli/interrupts.hpp"
#include "cli/man_page.hpp"
#include "cli/output.hpp"
#include "cli/printable.hpp"
#include "cli/session.hpp"

namespace sliding_sync::cli {

namespace {

ExitCode told(const Failure& failure) {
    console().show_status("");
    console().print({"error", failure.what(), failure.detail, failure.hint});
    return failure.code;
}

std::string generated(const CLI::App& app, const std::string& kind) {
    return kind == "man"    ? man_page(app)
           : kind == "bash" ? bash_completion(app)
           : kind == "zsh"  ? zsh_completion(app)
                            : fish_completion(app);
}

/// True when the parser has done all that was asked for.
bool parse(int argc, char** argv, Options& options) {
    const auto parser = make_parser(options);
    try {
        parser->parse(argc, argv);
        if (!options.generated.empty()) {
            print_line(generated(*parser, options.generated));
            return true;
        }
        if (options.command.empty()) {
            throw Failure(ExitCode::usage, "a command is missing", {}, usage_hint);
        }
        settle_words(options);
        return false;
    } catch (const CLI::CallForHelp&) {
        print_paged(help_text(*parser));
    } catch (const CLI::CallForVersion&) {
        print_line(version_line);
    } catch (const CLI::ParseError& error) {
        if (const auto words = parser->remaining();
            options.command.empty() && !words.empty() && words[0][0] != '-') {
            throw Failure(ExitCode::usage, fmt::format("\"{}\" is no command", words.front()), {},
                          usage_hint);
        }
        throw Failure(ExitCode::usage, error.what(), {}, usage_hint);
    }
    return true;
}

ExitCode run_program(int argc, char** argv) {
    try {
        Options options;
        options.arguments.assign(argv + 1, argv + argc);
        if (parse(argc, argv, options)) {
            return ExitCode::done;
        }
        console().set_quiet(options.quiet);
        return run_command(options);
    } catch (const Failure& failure) {
        return told(failure);
    } catch (const ServerError& error) {
        return told(failure_of(error));
    } catch (const std::exception& error) {
        return told(Failure(ExitCode::error, error.what()));
    }
}

// A standard stream that the caller has closed would become the connection to the server.
void open_standard_streams() {
    for (int descriptor = ::open("/dev/null", O_RDWR); 0 <= descriptor;
         descriptor = ::open("/dev/null", O_RDWR)) {
        if (descriptor > STDERR_FILENO) {
            ::close(descriptor);
            return;
        }
    }
}

}  // namespace

}  // namespace sliding_sync::cli

int main(int argc, char** argv) {
    using namespace sliding_sync::cli;
    open_standard_streams();
    use_locale();
    interrupts().start();
    return static_cast<int>(run_program(argc, argv));
}
