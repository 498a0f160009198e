#include "admin/attached.hpp"

#include "server/spi.hpp"

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
    return result;
}

}  // namespace sliding_sync
