#include "admin/attached.hpp"

#include "derive/homeserver.hpp"

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
                    "SELECT code, detail, cure FROM sliding_sync.health; tells more.");
    }
    return result;
}

}  // namespace sliding_sync
