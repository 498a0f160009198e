// Deferred triggers of other roles' tables: they must not wait for the commit of the writer.
#pragma once

#include "guard/boundary.hpp"

namespace sliding_sync {

/// Sets the deferrable constraints of the tables that we write and this role owns, and of those that refer to
/// them, to IMMEDIATE until the (sub)transaction ends; those that wait already fire now, with the rights of
/// the current user. Other constraints stay as the transaction's user has set them, and so does one that
/// shares its name with another of its schema. Costs a look-up where there are none, as usual.
void fire_deferred_triggers_at_once(Oid table_owner);

}  // namespace sliding_sync
