#include "cli/statements.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "cli/sql.hpp"

namespace sliding_sync::cli {

namespace {

SqlCall from(const char* function) {
    return SqlCall(fmt::format("SELECT * FROM sliding_sync.{}", function));
}

std::string view(const char* name, const Options& options, bool has_rows_of_database = false) {
    std::string text = fmt::format("SELECT * FROM sliding_sync.{}", name);
    if (options.schema) {
        text += fmt::format(" WHERE schema_name OPERATOR(pg_catalog.=) {}", sql_literal(*options.schema));
        text += has_rows_of_database ? " OR schema_name IS NULL" : "";
    }
    return text;
}

void add_scope(SqlCall& call, const Options& options) {
    call.argument("target_schema", options.schema);
    if (options.tables != "both") {
        call.argument("tables", options.tables);
    }
    call.argument("first_room", options.first_room).argument("last_room", options.last_room);
}

SqlCall with_part(SqlCall call, const Options& options) {
    add_scope(call, options);
    call.argument("room", options.room).argument("member", options.member);
    if (options.sample != 1) {
        call.argument("sample", options.sample);
    }
    if (options.skips_history) {
        call.argument("history", false);
    }
    return call;
}

std::string with_preview(SqlCall call, const Options& options) {
    return options.preview ? call.argument("dry_run", true).text() : call.text();
}

std::string text_array(const std::vector<std::string>& values, bool empty_is_null) {
    std::string items;
    for (const std::string& value : values) {
        items += fmt::format("{}{}", items.empty() ? "" : ", ",
                             empty_is_null && value.empty() ? "NULL" : sql_literal(value));
    }
    return fmt::format("ARRAY[{}]::pg_catalog.text[]", items);
}

std::string room_list(const Options& options) {
    SqlCall call = from("room_list").argument("user_id", options.words.front());
    const auto add_flag = [&](const char* name, const std::optional<bool>& wanted) {
        if (wanted) {
            call.argument(name, *wanted);
        }
    };
    const auto add_array = [&](const char* name, const std::vector<std::string>& values, bool empty_is_null) {
        if (!values.empty()) {
            call.expression(name, text_array(values, empty_is_null));
        }
    };
    add_flag("is_dm", options.is_dm);
    add_flag("is_encrypted", options.is_encrypted);
    add_flag("is_invite", options.is_invite);
    add_array("room_types", options.room_types, true);
    add_array("not_room_types", options.not_room_types, true);
    add_array("tags", options.tags, false);
    add_array("not_tags", options.not_tags, false);
    add_array("spaces", options.spaces, false);
    call.argument("room_name_like", options.room_name_like);
    if (options.sort_by != "recency") {
        call.argument("sort_by", options.sort_by);
    }
    if (options.range_start) {
        call.argument("range_start", *options.range_start);
    }
    if (options.range_end) {
        call.argument("range_end", *options.range_end);
    }
    return call.argument("target_schema", options.schema).text();
}

std::string explain_user(const Options& options) {
    SqlCall call = from("explain_user").argument("user_id", options.words.front());
    if (options.words.size() > 1) {
        call.argument("room_id", options.words[1]);
    }
    return call.argument("target_schema", options.schema).text();
}

std::string with_schema(SqlCall call, const Options& options) {
    return call.argument("target_schema", options.schema).text();
}

using Maker = std::string (*)(const Options&);

struct Command {
    const char* name;
    Maker statement;
    bool needs_same_version;
    const char* locks;
};

const std::array<Command, 16> commands{{
    {"attach", [](const Options& o) { return with_schema(SqlCall("SELECT sliding_sync.attach"), o); }, true,
     "SHARE ROW EXCLUSIVE on the homeserver's tables that get triggers, all at once, until the statement "
     "ends.\n"
     "Asked for in attempts of 60 to 700 ms for a minute: writers wait less than a second, readers never."},
    {"detach", [](const Options& o) { return with_schema(SqlCall("SELECT sliding_sync.detach"), o); }, false,
     "ACCESS EXCLUSIVE on the homeserver's tables that have triggers, all at once, until the statement "
     "ends.\n"
     "Asked for in attempts of 60 to 700 ms for a minute: writers and readers wait less than a second."},
    {"backfill",
     [](const Options& o) {
         // as psql takes it
         return begin_backfill_statement(o) + " \\gset\n" + backfill_statement(o, ":run_id");
     },
     true,
     "Each batch, about 100 ms: ROW EXCLUSIVE on the derived tables and locks on the rows that it reads and "
     "writes.\n"
     "It waits 300 ms for a lock itself, then turns to other rows."},
    {"catch-up",
     [](const Options& o) {
         return with_schema(o.mode == "repair" ? from("catch_up") : from("catch_up").argument("mode", o.mode),
                            o);
     },
     true,
     "ACCESS SHARE on the homeserver's tables; ROW EXCLUSIVE on the derived tables, and locks on wrong rows, "
     "until the "
     "statement ends."},
    {"verify", [](const Options& o) { return with_part(from("verify"), o).text(); }, true,
     "ACCESS SHARE on the homeserver's tables and the derived ones: keeps nobody waiting but ALTER TABLE and "
     "the like."},
    {"repair", [](const Options& o) { return with_preview(with_part(from("repair"), o), o); }, true,
     "ACCESS SHARE on the homeserver's tables; ROW EXCLUSIVE on the derived tables, and locks on the rows "
     "that are "
     "mended, until the statement ends."},
    {"ready", [](const Options& o) { return with_schema(from("ready"), o); }, false,
     "None on the homeserver's tables."},
    {"status", [](const Options& o) { return view("status", o); }, false, "None on the homeserver's tables."},
    {"health", [](const Options& o) { return view("health", o, true); }, false,
     "None on the homeserver's tables."},
    {"progress", [](const Options& o) { return view("progress", o); }, false,
     "None on the homeserver's tables."},
    {"preflight",
     [](const Options& o) {
         return with_schema(from("preflight").argument("operation", o.words.front()), o);
     },
     true,
     "ACCESS SHARE on the homeserver's small tables (background_updates, scheduled_tasks and the like)."},
    {"finish",
     [](const Options& o) {
         return with_preview(from("finish_background_updates").argument("target_schema", o.schema), o);
     },
     true,
     "ACCESS SHARE on the homeserver's tables while every row is verified; then ROW EXCLUSIVE on "
     "background_updates "
     "and sliding_sync_joined_rooms_to_recalculate."},
    {"list", room_list, true, "ACCESS SHARE on the homeserver's tables and the derived ones."},
    {"explain-user", explain_user, true, "ACCESS SHARE on the homeserver's tables and the derived ones."},
    {"explain-room",
     [](const Options& o) {
         return with_schema(from("explain_room").argument("room_id", o.words.front()), o);
     },
     true, "ACCESS SHARE on the homeserver's tables and the derived ones."},
    {"version",
     [](const Options&) {
         return std::string("SELECT '" SLIDING_SYNC_VERSION
                            "' AS program_version, v.* FROM sliding_sync.version() v");
     },
     false, "None on the homeserver's tables."},
}};

const Command& command(const std::string& name) {
    const auto* const found = std::find_if(commands.begin(), commands.end(),
                                           [&](const Command& known) { return name == known.name; });
    return found == commands.end() ? throw std::logic_error("no command " + name) : *found;
}

}  // namespace

std::string backfill_statement(const Options& options, std::string_view run_id) {
    SqlCall call("CALL sliding_sync.backfill");
    call.expression("run_id", run_id).argument("verbose", false);  // the bar tells
    if (options.batch_size) {
        call.argument("batch_size", *options.batch_size);
    }
    call.argument("batch_time", options.batch_time).argument("pause", options.pause);
    if (options.share) {
        call.argument("share", *options.share);
    }
    return call.argument("max_duration", options.max_duration).text();
}

std::string begin_backfill_statement(const Options& options) {
    SqlCall call("CALL sliding_sync.begin_backfill");
    add_scope(call, options);
    if (options.restart) {
        call.argument("restart", true);
    }
    return call.text();
}

std::string statement_of(const Options& options) {
    return command(options.command).statement(options);
}

std::vector<std::string> locks_of(const std::string& name) {
    std::vector<std::string> lines;
    std::string_view text = command(name).locks;
    while (!text.empty()) {
        const auto end = text.find('\n');
        lines.emplace_back(text.substr(0, end));
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    return lines;
}

bool needs_same_version(const std::string& name) {
    return command(name).needs_same_version;
}

}  // namespace sliding_sync::cli
