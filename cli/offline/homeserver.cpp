#include "cli/offline/homeserver.hpp"

#include <algorithm>
#include <fmt/format.h>

#include "cli/sql.hpp"
#include "shared/derived_columns.hpp"

namespace sliding_sync::cli::offline {

namespace {

template <typename Names>
std::string list_of(const Names& names) {
    std::string list;
    for (const char* const name : names) {
        list += fmt::format("{}'{}'", list.empty() ? "" : ", ", name);
    }
    return list;
}

std::string required_tables() {
    std::array<const char*, required_base_tables.size()> names{};
    std::transform(required_base_tables.begin(), required_base_tables.end(), names.begin(), table_name);
    return list_of(names);
}

// As the extension finds them: ordinary tables of the owner of events, or of a superuser.
constexpr const char* find_tables = R"(SELECT n.nspname AS schema_name,
       count(*) FILTER (WHERE c.relname IN ({required})) = {required_count} AS is_homeserver,
       count(*) FILTER (WHERE c.relname IN ({derived})) = 2 AS has_derived_tables,
       bool_or(c.relname = '{rejections}') AS has_rejections,
       bool_or(c.relname = '{redactions}' AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid
           AND a.attname = 'recheck' AND NOT a.attisdropped)) AS has_redaction_recheck,
       bool_or(c.relname = '{ban_redactions}') AS has_ban_redactions,
       count(*) FILTER (WHERE c.relname IN ({state_groups})) = {state_groups_count} AS has_state_groups,
       bool_or(c.relname = '{state_changes}' AND EXISTS (SELECT FROM pg_class i
           WHERE i.relnamespace = n.oid AND i.relname = '{state_changes_index}')) AS has_state_changes
FROM pg_namespace n JOIN pg_class events ON events.relnamespace = n.oid AND events.relname = '{events}'
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind = 'r'
        AND (c.relowner = events.relowner OR (SELECT r.rolsuper FROM pg_roles r WHERE r.oid = c.relowner))
WHERE {condition}
GROUP BY n.nspname ORDER BY n.nspname)";

// Those of the session count, too: what a SET ROLE has given up, the code could take back.
constexpr const char* find_greater_rights =
    R"(SELECT session_user AS caller, pg_get_userbyid(events.relowner) AS owner
FROM pg_class events JOIN pg_namespace n ON n.oid = events.relnamespace
WHERE n.nspname = {} AND events.relname = '{}' AND EXISTS (SELECT FROM pg_roles r
    WHERE (r.rolsuper OR r.rolcreaterole OR r.rolbypassrls OR r.rolname IN ('pg_execute_server_program',
            'pg_read_server_files', 'pg_write_server_files', 'pg_read_all_data', 'pg_write_all_data'))
        AND (pg_has_role(session_user, r.oid, 'MEMBER') OR pg_has_role(current_user, r.oid, 'MEMBER'))
        AND NOT pg_has_role(events.relowner, r.oid, 'MEMBER')))";

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

std::string Homeserver::quoted_schema() const {
    return quoted_identifier(schema);
}

std::string find_text(const Options& options) {
    const std::string condition =
        options.schema ? fmt::format("n.nspname = {}", sql_literal(*options.schema)) : std::string("true");
    using namespace fmt::literals;
    return fmt::format(
        find_tables, "required"_a = required_tables(), "required_count"_a = required_base_tables.size(),
        "derived"_a = list_of(std::array{joined_rooms_table, membership_snapshots_table}),
        "events"_a = table_name(BaseTable::events), "rejections"_a = table_name(BaseTable::rejections),
        "redactions"_a = table_name(BaseTable::redactions),
        "ban_redactions"_a = table_name(BaseTable::room_ban_redactions),
        "state_groups"_a = list_of(state_group_tables), "state_groups_count"_a = state_group_tables.size(),
        "state_changes"_a = state_changes_table, "state_changes_index"_a = state_changes_index,
        "condition"_a = condition);
}

Homeserver find_homeserver(Database& database, const Options& options) {
    const Rows rows = run(database, find_text(options), options);
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
    return {*rows.at(*found, "schema_name"),
            is("has_derived_tables"),
            {is("has_rejections"), is("has_redaction_recheck"), is("has_ban_redactions"),
             is("has_state_groups"), is("has_state_changes")}};
}

void refuse_greater_rights(Database& database, const Homeserver& homeserver, const Options& options) {
    const Rows rows =
        run(database,
            fmt::format(find_greater_rights, sql_literal(homeserver.schema), table_name(BaseTable::events)),
            options);
    if (rows.values.empty()) {
        return;
    }
    const std::string& owner = *rows.at(0, "owner");
    throw Failure(
        ExitCode::error,
        fmt::format("code in the tables of role \"{}\" would run with greater rights than that role has",
                    owner),
        fmt::format("Without the extension, index expressions, policies and views of the tables run as "
                    "\"{}\", who may do more on this server.",
                    *rows.at(0, "caller")),
        fmt::format("Connect as \"{}\", or as a role that has SELECT and little more. If \"{}\" is "
                    "trusted with these rights: --trust-owner.",
                    owner, owner));
}

const std::vector<std::string>& begin_statements() {
    static const std::vector<std::string> statements{"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                                                     "SET LOCAL search_path = pg_catalog",
                                                     "SET LOCAL enable_hashjoin = off",
                                                     "SET LOCAL enable_mergejoin = off",
                                                     "SET LOCAL enable_seqscan = off",
                                                     "SET LOCAL jit = off",
                                                     "SET LOCAL max_parallel_workers_per_gather = 0"};
    return statements;
}

// After an error the connection is closed, and with it the transaction.
void in_transaction(Database& database, const std::function<void()>& read) {
    for (const std::string& statement : begin_statements()) {
        database.run(statement);
    }
    read();
    database.run("COMMIT");
}

}  // namespace sliding_sync::cli::offline
