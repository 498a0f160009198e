#include "cli/command_line.hpp"

#include <charconv>
#include <limits>

#include "cli/exit_code.hpp"
#include "cli/help.hpp"

namespace sliding_sync::cli {

namespace {

// Without what CLI11 would add to the name of the value.
CLI::Validator silent(const CLI::Validator& validator) {
    return validator.description("");
}

std::string is_share(const std::string& text) {
    double share = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), share);
    const bool is_number = error == std::errc() && end == text.data() + text.size();
    return is_number && share > 0 && share <= 1 ? "" : text + " is not more than 0 and at most 1";
}

CLI::App* add_command(CLI::App& app, const char* name, const char* about) {
    CLI::App* command = app.add_subcommand(name, about);
    command->option_defaults()->group("Options");    // by default it is another word in each CLI11
    command->set_help_flag("-?,--help")->group("");  // the program's would come after a missing word
    command->fallthrough();
    return command;
}

void add_database(CLI::App& command, Options& options) {
    command.add_option("DBNAME", options.connection.database,
                       "database, or a connection string or URI whose values count more than the options'");
}

void add_connection_options(CLI::App& app, Options& options) {
    const char* group = "Connection options";
    ConnectionOptions& connection = options.connection;
    app.add_option("-h,--host", connection.host, "server, or directory of its socket")
        ->type_name("HOST")
        ->group(group);
    app.add_option("-p,--port", connection.port, "port of the server")->type_name("PORT")->group(group);
    app.add_option("-U,--username", connection.user, "role to connect as")->type_name("ROLE")->group(group);
    app.add_option("-d,--dbname", connection.database, "database, connection string or URI")
        ->type_name("DBNAME")
        ->group(group);
    app.add_flag("-w,--no-password", connection.never_prompt, "never ask for a password")->group(group);
    app.add_flag("-W,--password", connection.always_prompt, "ask for a password before connecting")
        ->group(group);
    app.add_option("--synapse-config", connection.synapse_config,
                   "take the connection from database.args of this homeserver.yaml")
        ->type_name("FILE")
        ->group(group);
    app.add_option("--schema", options.schema,
                   "schema of the homeserver's tables, where a database has several homeservers")
        ->type_name("NAME")
        ->group(group);
}

void add_general_options(CLI::App& app, Options& options) {
    const char* group = "General options";
    app.add_flag("--json", options.json, "print JSON: an array of rows, for backfill a line an event")
        ->group(group);
    app.add_option("--color", options.color, "auto: on a terminal, unless NO_COLOR is set")
        ->type_name("auto|always|never")
        ->check(silent(CLI::IsMember({"auto", "always", "never"})))
        ->group(group);
    app.add_flag("-e,--echo", options.echo, "print the SQL that is sent, to standard error")->group(group);
    app.add_flag("-n,--dry-run", options.dry_run, "print the SQL and its locks instead of sending it")
        ->group(group);
    app.add_flag("-q,--quiet", options.quiet, "no notices, no progress")->group(group);
    app.add_flag("-v,--verbose", options.verbose, "also say what the session is")->group(group);
    app.add_option("--generate", options.generated)
        ->check(CLI::IsMember({"man", "bash", "zsh", "fish"}))
        ->group("");  // for the build
    app.set_version_flag("-V,--version", version_line, "print the version")->group(group);
    app.set_help_flag("-?,--help", "print help, also that of a command")->group(group);
}

void add_scope(CLI::App& command, Options& options) {
    command.add_option("--tables", options.tables, "which of them")
        ->type_name("joined_rooms|memberships|both")
        ->check(silent(CLI::IsMember({"joined_rooms", "memberships", "both"})));
    command.add_option("--first-room", options.first_room, "begin with this room, in the order of room_id")
        ->type_name("ROOM");
    command.add_option("--last-room", options.last_room, "end with this room")->type_name("ROOM");
}

void add_part(CLI::App& command, Options& options) {
    add_scope(command, options);
    command.add_option("--room", options.room, "only this room and its memberships")->type_name("ROOM");
    command.add_option("--member", options.member, "only memberships of this user")->type_name("USER");
    command.add_option("--sample", options.sample, "share of the keys to look at, drawn by chance, up to 1")
        ->type_name("SHARE")
        ->check(silent(CLI::Validator(is_share, "")));
    command.add_flag("--no-history", options.skips_history,
                     "do not judge what snapshots say of the past; quicker");
}

void add_backfill(CLI::App& app, Options& options) {
    CLI::App* command =
        add_command(app, "backfill", "fill and correct both tables while the homeserver runs");
    add_scope(*command, options);
    command->add_option("-j,--jobs", options.jobs, "sessions that share the work")
        ->type_name("N")
        ->check(silent(CLI::Range(1, 64)));
    command->add_option("--batch-size", options.batch_size, "keys a batch")
        ->type_name("N")
        ->check(silent(CLI::Range(1LL, std::numeric_limits<long long>::max())));
    command->add_option("--batch-time", options.batch_time, "how long a batch should take")
        ->type_name("INTERVAL");
    command->add_option("--pause", options.pause, "rest after each batch")->type_name("INTERVAL");
    command->add_option("--share", options.share, "of the time to work: 0.5 rests as long as it worked")
        ->type_name("SHARE")
        ->check(silent(CLI::Validator(is_share, "")));
    command->add_option("--max-duration", options.max_duration, "end after this time; the next call goes on")
        ->type_name("INTERVAL");
    command->add_flag("--restart", options.restart, "forget how far the unfinished run of this scope is");
    command
        ->add_option("--retry", options.retry_seconds,
                     "keep trying for so long when the connection is lost (5min)")
        ->type_name("TIME")
        ->transform(
            silent(CLI::AsNumberWithUnit(std::map<std::string, double>{{"s", 1}, {"min", 60}, {"h", 3600}})));
    command->add_flag("!--no-progress", options.shows_progress, "do not show how far it is");
    add_database(*command, options);
}

void add_list_filters(CLI::App& command, Options& options) {
    command.add_option("--dm", options.is_dm, "only direct rooms, or none of them")->type_name("BOOL");
    command.add_option("--encrypted", options.is_encrypted, "only encrypted rooms, or none of them")
        ->type_name("BOOL");
    command.add_option("--invite", options.is_invite, "only invitations, or none of them")->type_name("BOOL");
    const auto add_list = [&](const char* name, std::vector<std::string>& values, const char* about,
                              const char* type) {
        command.add_option(name, values, about)
            ->type_name(type)
            ->expected(1)
            ->take_all()
            ->allow_extra_args(false);
    };
    add_list("--room-type", options.room_types, "only rooms of this type; an empty one is no type", "TYPE");
    add_list("--not-room-type", options.not_room_types, "no rooms of this type", "TYPE");
    add_list("--tag", options.tags, "only rooms that the user has tagged so", "TAG");
    add_list("--not-tag", options.not_tags, "no rooms that the user has tagged so", "TAG");
    add_list("--space", options.spaces, "only children of this space", "ROOM");
    command.add_option("--name-like", options.room_name_like, "only rooms with this in their name")
        ->type_name("TEXT");
    command.add_option("--sort-by", options.sort_by, "what comes first")
        ->type_name("recency|bump|name")
        ->check(silent(CLI::IsMember({"recency", "bump", "name"})));
    command.add_option("--from", options.range_start, "first place, from 0")->type_name("N");
    command.add_option("--to", options.range_end, "last place")->type_name("N");
}

void add_words(CLI::App& command, Options& options, const char* name, const char* about, int least,
               int most) {
    command.add_option(name, options.words, about)->expected(least, most)->required(least > 0)->take_all();
}

void add_looking_commands(CLI::App& app, Options& options) {
    CLI::App* verify = add_command(app, "verify", "compare every row with what it must be; changes nothing");
    add_part(*verify, options);
    verify->add_flag("--no-extension", options.without_extension,
                     "judge without the extension, with SELECT alone: nothing has to be installed");
    verify->add_flag("--trust-owner", options.trusts_owner,
                     "with --no-extension also as a superuser, whose rights the tables' code then has");
    add_database(*verify, options);
    add_database(*add_command(app, "ready", "may a reader trust the tables? exit status 3: no"), options);
    CLI::App* status =
        add_command(app, "status", "versions, triggers, row counts, since when rows are known to be right");
    status->add_flag("--no-extension", options.without_extension,
                     "what there is without the extension, with SELECT alone");
    add_database(*status, options);
    add_database(*add_command(app, "health", "findings, each with the command that cures it"), options);
    add_database(*add_command(app, "progress", "how far backfills are that are not finished"), options);
    CLI::App* preflight =
        add_command(app, "preflight", "what stands in the way of something you are about to do");
    add_words(*preflight, options, "WHAT",
              "delete_room, purge_history, port_database, upgrade, downgrade or "
              "remove_extension; then DBNAME",
              1, 2);
    CLI::App* list = add_command(app, "list", "a user's room list, as a client sees it");
    add_list_filters(*list, options);
    add_words(*list, options, "USER", "user id; then DBNAME", 1, 2);
    CLI::App* user = add_command(app, "explain-user", "why rooms are, or are not, in a user's list");
    add_words(*user, options, "USER", "user id; then ROOM, one room's id, and DBNAME", 1, 3);
    CLI::App* room = add_command(app, "explain-room", "where each column of a room's row comes from");
    add_words(*room, options, "ROOM", "room id; then DBNAME", 1, 2);
    add_database(
        *add_command(app, "version", "versions of program, library and SQL; exit status 5: they differ"),
        options);
}

void add_changing_commands(CLI::App& app, Options& options) {
    add_database(*add_command(app, "attach", "put the triggers on a homeserver's tables"), options);
    add_database(*add_command(app, "detach", "take the triggers away; tables and rows stay"), options);
    add_backfill(app, options);
    CLI::App* catch_up =
        add_command(app, "catch-up", "mend what escaped the triggers, before a homeserver starts");
    catch_up->add_option("--mode", options.mode, "repair: make wrong rows right; remove: take them away")
        ->type_name("repair|remove")
        ->check(silent(CLI::IsMember({"repair", "remove"})));
    add_database(*catch_up, options);
    CLI::App* repair = add_command(app, "repair", "mend what verify finds");
    add_part(*repair, options);
    repair->add_flag("--preview", options.preview, "print what would change, and change nothing");
    add_database(*repair, options);
    CLI::App* finish =
        add_command(app, "finish", "end the homeserver's own updates of these tables, once they are right");
    finish->add_flag("--preview", options.preview, "print what would end, and change nothing");
    add_database(*finish, options);
}

}  // namespace

std::unique_ptr<CLI::App> make_parser(Options& options) {
    auto app = std::make_unique<CLI::App>("Keeps the room-list tables of a Matrix homeserver exact: what an "
                                          "administrator types.",
                                          program_name);
    app->set_help_flag();           // -h is the host's
    app->require_subcommand(0, 1);  // main() says better what is missing
    app->option_defaults()->take_last();
    add_connection_options(*app, options);
    add_general_options(*app, options);
    add_changing_commands(*app, options);
    add_looking_commands(*app, options);
    for (CLI::App* command : app->get_subcommands({})) {
        command->parse_complete_callback([&options, command] { options.command = command->get_name(); });
    }
    return app;
}

void settle_words(Options& options) {
    std::vector<std::string>& words = options.words;
    const bool may_name_room = options.command == "explain-user";
    const bool names_room = may_name_room && words.size() > 1 && words[1].rfind('!', 0) == 0;
    const std::size_t own = words.empty() ? 0 : names_room ? 2 : 1;
    if (words.size() > own + 1) {
        throw Failure(ExitCode::usage, "too many words: " + words.back(), {}, usage_hint);
    }
    if (words.size() > own) {
        options.connection.database = words.back();
        words.pop_back();
    }
}

}  // namespace sliding_sync::cli
