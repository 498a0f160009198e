#include "admin/as_owner.hpp"

#include "derive/write_as.hpp"
#include "pg/spi.hpp"
#include "shared/sql_text.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "utils/acl.h"
}

namespace sliding_sync {

namespace {

Oid owner_of(const std::string& schema) {
    const SpiConnection connection;
    const Rows rows = query_once(sql_text("SELECT h.owner_oid FROM sliding_sync.homeservers h "
                                          "WHERE h.schema_name %= sliding_sync.attached_schema($1)"),
                                 {TEXTOID}, Arguments().text(schema));
    return static_cast<Oid>(rows[0][0].number);
}

}  // namespace

std::optional<std::string> as_owner(const std::string& schema, const std::string& command) {
    const Oid owner = owner_of(schema);
    if (!call_pg([&] { return has_privs_of_role(GetUserId(), owner); })) {
        throw Error(ERRCODE_INSUFFICIENT_PRIVILEGE,
                    "permission denied for the homeserver in schema \"" + schema + "\"", "",
                    "It takes the privileges of the role that owns the homeserver's tables.");
    }
    const WriteAs writer(owner);
    const SpiConnection connection;
    const Rows rows = query_once(command);
    if (rows.count == 0 || rows.columns == 0) {
        return std::nullopt;
    }
    const Cell& value = rows[0][0];
    return value.is_null || value.data != nullptr ? value.optional_text() : std::to_string(value.number);
}

}  // namespace sliding_sync
