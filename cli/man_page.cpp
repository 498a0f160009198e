#include "cli/man_page.hpp"

#include <fmt/format.h>

#include "cli/help.hpp"

namespace sliding_sync::cli {

namespace {

std::string roff(std::string_view text) {
    std::string result;
    bool begins_line = true;
    for (const char sign : text) {
        if (begins_line && (sign == '.' || sign == '\'')) {
            result += "\\&";
        }
        begins_line = sign == '\n';
        result += sign == '-' ? "\\-" : sign == '\\' ? "\\e" : std::string(1, sign);
    }
    return result;
}

std::string entry(std::string_view name, std::string_view about) {
    return fmt::format(".TP\n.B {}\n{}\n", roff(name), roff(about));
}

std::string options_text(const CLI::App& app, std::string_view group) {
    std::string text;
    for (const CLI::Option* option : options_of(app)) {
        if (option->get_group() == group) {
            const OptionText texts = text_of(*option);
            text += entry(texts.names, texts.about);
        }
    }
    return text;
}

std::string commands_text(const CLI::App& app) {
    std::string text;
    for (const CLI::App* command : commands_of(app)) {
        text += fmt::format(".SS \"sliding\\-sync {} [OPTION]... {}\"\n{}\n", roff(command->get_name()),
                            roff(words_of(*command)), roff(command->get_description()));
        for (const CLI::Option* option : command->get_options()) {
            if (option->get_positional() && option->get_name(true) != "DBNAME") {
                text += entry(option->get_name(true), option->get_description());
            }
        }
        text += options_text(*command, "Options");
    }
    return text;
}

std::string exit_text() {
    std::string text;
    for (const ExitText& exit : exit_texts()) {
        text += entry(std::to_string(exit.code), exit.about);
    }
    return text;
}

constexpr const char* environment = R"(.TP
.B PGHOST, PGPORT, PGUSER, PGDATABASE, PGPASSFILE, PGSERVICE and the others of libpq
how to connect, as for
.BR psql (1)
.TP
.B PSQL_PAGER, PAGER
what shows output that is longer than the terminal; empty: nothing
.TP
.B NO_COLOR
no color, unless \-\-color says so
)";

constexpr const char* examples = R"(.TP
.B sliding\-sync status synapse
what is installed in the database synapse, and whether its tables may be trusted
.TP
.B sliding\-sync backfill \-j 2 \-\-share 0.5 \-\-synapse\-config /etc/matrix\-synapse/homeserver.yaml
fills both tables with two sessions that rest as long as they work
.TP
.B sliding\-sync verify \-\-no\-extension \-\-sample 0.01 synapse
looks at one row in a hundred, where nothing is installed
)";

}  // namespace

std::string man_page(const CLI::App& app) {
    return fmt::format(
        ".TH SLIDING\\-SYNC 1 \"\" \"sliding_sync {}\" \"sliding_sync\"\n"
        ".SH NAME\nsliding\\-sync \\- {}\n"
        ".SH SYNOPSIS\n.B sliding\\-sync\n[COMMAND] [OPTION]... [DBNAME | URI]\n"
        ".SH DESCRIPTION\n{}\n"
        "DBNAME may be a connection string or a URI, whose values count more than those of options. "
        "Data goes to standard output, messages go to standard error.\n"
        ".SH COMMANDS\n{}.SH CONNECTION OPTIONS\n{}.SH GENERAL OPTIONS\n{}.SH EXIT STATUS\n{}"
        ".SH ENVIRONMENT\n{}.SH EXAMPLES\n{}.SH SEE ALSO\n.BR psql (1)\n",
        SLIDING_SYNC_VERSION, "keeps the room\\-list tables of a Matrix homeserver exact",
        roff(app.get_description()), commands_text(app), options_text(app, "Connection options"),
        options_text(app, "General options"), exit_text(), environment, examples);
}

}  // namespace sliding_sync::cli
