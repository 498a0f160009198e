#include "derive/attachment.hpp"

#include "derive/write_as.hpp"
#include "pg/catalog.hpp"
#include "pg/spi.hpp"
#include "shared/sql_text.hpp"

extern "C" {
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "utils/lsyscache.h"
}

namespace sliding_sync {

bool is_attached(Oid namespace_oid) {
    static Statement look(
        "is_attached",
        sql_text("SELECT FROM sliding_sync.homeservers h WHERE h.namespace_oid::pg_catalog.int8 %= $1"),
        {INT8OID});
    const Oid owner = call_pg([]() -> Oid {
        const Oid schema = get_namespace_oid("sliding_sync", true);
        return OidIsValid(schema) ? relation_owner(get_relname_relid("homeservers", schema)) : InvalidOid;
    });
    if (!OidIsValid(owner)) {
        return false;
    }
    const WriteAs reader(owner);
    const SpiConnection connection;
    return look.run(Arguments().number(namespace_oid)).count > 0;
}

}  // namespace sliding_sync
