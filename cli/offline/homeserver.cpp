#include "cli/offline/homeserver.hpp"

#include <fmt/format.h>

#include "cli/sql.hpp"

namespace sliding_sync::cli::offline {

namespace {

constexpr const char* needed_tables =
    "'{events,event_json,redactions,rooms,room_memberships,current_state_events,"
    "local_current_membership}'::text[]";

// As the extension finds them: ordinary tables of the owner of events, or of a superuser.
constexpr const char* find_tables = R"(
SELECT n.nspname AS schema_name,
       count(*) FILTER (WHERE c.relname = ANY ({0})) = cardinality({0}) AS is_homeserver,
       count(*) FILTER (WHERE c.relname IN ('sliding_sync_joined_rooms', 'sliding_sync_membership_snapshots')) = 2
           AS has_derived_tables,
       bool_or(c.relname = 'rejections') AS has_rejections,
       bool_or(c.relname = 'redactions' AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid
           AND a.attname = 'recheck' AND NOT a.attisdropped)) AS has_redaction_recheck,
       bool_or(c.relname = 'room_ban_redactions') AS has_ban_redactions,
       count(*) FILTER (WHERE c.relname IN ('event_to_state_groups', 'state_groups', 'state_group_edges',
           'state_groups_state')) = 4 AS has_state_groups,
       bool_or(c.relname = 'current_state_delta_stream' AND EXISTS (SELECT FROM pg_class i
           WHERE i.relnamespace = n.oid AND i.relname = 'current_state_delta_stream_room_idx')) AS has_state_changes
FROM pg_namespace n JOIN pg_class events ON events.relnamespace = n.oid AND events.relname = 'events'
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind = 'r'
        AND (c.relowner = events.relowner OR (SELECT r.rolsuper FROM pg_roles r WHERE r.oid = c.relowner))
WHERE {1}
GROUP BY n.nspname ORDER BY n.nspname)";

std::string quoted_identifier(std::string_view name) {
    std::string quoted = "\"";
    for (const char sign : name) {
        quoted += sign == '"' ? "\"\"" : std::string(1, sign);
    }
    return quoted + '"';
}

Failure none_found(const Options& options) {
    if (options.schema) {
        return {ExitCode::error, fmt::format("schema \"{}\" holds no homeserver's tables", *options.schema)};
    }
    return {ExitCode::error,
            "no schema of this database holds a homeserver's tables",
            {},
            "Is it the right database? --synapse-config takes it from the homeserver's own configuration."};
}

}  // namespace

std::string Homeserver::table(std::string_view name) const {
    return fmt::format("{}.{}", quoted_identifier(schema), name);
}

Homeserver find_homeserver(Database& database, const Options& options) {
    const std::string condition =
        options.schema ? fmt::format("n.nspname = {}", sql_literal(*options.schema)) : std::string("true");
    const Rows rows = run(database, fmt::format(find_tables, needed_tables, condition), options);
    std::optional<std::size_t> found;
    for (std::size_t i = 0; i < rows.values.size(); ++i) {
        if (rows.at(i, "is_homeserver") != "t") {
            continue;
        }
        if (found) {
            throw Failure(ExitCode::error, "more than one schema holds a homeserver's tables",
                          fmt::format("Among them: {}, {}.", *rows.at(*found, "schema_name"),
                                      *rows.at(i, "schema_name")),
                          "Name one with --schema.");
        }
        found = i;
    }
    if (!found) {
        throw none_found(options);
    }
    const auto is = [&](std::string_view column) { return rows.at(*found, column) == "t"; };
    return {*rows.at(*found, "schema_name"), is("has_derived_tables"), is("has_rejections"),
            is("has_redaction_recheck"),     is("has_ban_redactions"), is("has_state_groups"),
            is("has_state_changes")};
}

void prepare_session(Database& database) {
    for (const char* setting : {"default_transaction_read_only = on", "search_path = pg_catalog",
                                "enable_hashjoin = off", "enable_mergejoin = off", "enable_seqscan = off",
                                "jit = off", "max_parallel_workers_per_gather = 0"}) {
        database.run(fmt::format("SET {}", setting));
    }
}

}  // namespace sliding_sync::cli::offline
