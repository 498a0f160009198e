// The homeserver that a function of the SQL surface is about.
#pragma once

#include "guard/boundary.hpp"

namespace sliding_sync {

struct AttachedHomeserver {
    std::string schema;
    Oid namespace_oid = InvalidOid;
};

/// The one in this schema, or the only attached one. Raises 42P01 when there is none or when it lacks a
/// derived table of its own, 42P09 when several are meant, 42P17 when a table has a shape that is not known.
[[nodiscard]] AttachedHomeserver attached_homeserver(const std::optional<std::string>& schema);

/// Raises 55000 where a subscription brings the rows of a derived table: it would stop for good at the first
/// row that is there already, so no other role may make some.
void refuse_subscribed(const AttachedHomeserver& homeserver);

}  // namespace sliding_sync
