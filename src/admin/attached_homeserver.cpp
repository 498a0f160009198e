#include "admin/attached_homeserver.hpp"

#include "admin/homeserver_tables.hpp"
#include "derive/homeserver.hpp"
#include "pg/spi.hpp"
#include "shared/sql_text.hpp"

extern "C" {
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
}

namespace sliding_sync {

AttachedHomeserver attached_homeserver(const std::optional<std::string>& schema) {
    AttachedHomeserver result;
    const SpiConnection connection;
    result.schema = query_once("SELECT sliding_sync.attached_schema($1)", {TEXTOID},
                               Arguments().optional_text(schema))[0][0]
                        .text();
    result.namespace_oid = call_pg([&] { return get_namespace_oid(result.schema.c_str(), false); });
    const auto homeserver = homeserver_in(result.namespace_oid);
    const HomeserverSchema& tables = homeserver->schema;
    if (tables.joined_rooms == TableShape::missing || tables.membership_snapshots == TableShape::missing) {
        throw Error(ERRCODE_UNDEFINED_TABLE,
                    "schema \"" + result.schema + "\" lacks a derived table of its own",
                    "Both exist in an attached schema, and belong to the owner of its table of events.",
                    "SELECT code, detail, remedy FROM sliding_sync.health; tells more.");
    }
    // a table that a migration has changed beyond what we know is neither read nor written, which is no
    // result to be told
    check_base_columns(result.schema);
    check_derived_tables(result.schema);
    return result;
}

void refuse_subscribed(const AttachedHomeserver& homeserver) {
    const SpiConnection connection;
    const Rows rows = query_once(sql_text(R"(
            SELECT pg_catalog.min(s.subname::text)
            FROM pg_catalog.pg_subscription_rel r
            JOIN pg_catalog.pg_subscription s ON s.oid %= r.srsubid
            JOIN sliding_sync.homeserver_tables t ON t.table_oid %= r.srrelid
            WHERE t.schema_name %= $1 AND t.is_derived)"),
                                 {TEXTOID}, Arguments().text(homeserver.schema));
    if (const auto subscription = rows[0][0].optional_text()) {
        throw Error(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                    "the derived tables of schema \"" + homeserver.schema +
                        "\" are the target of subscription \"" + *subscription + "\"",
                    "It would stop at the first row that it brings and finds here already.",
                    "Call the function where the rows come from, or drop the subscription first.");
    }
}

}  // namespace sliding_sync
