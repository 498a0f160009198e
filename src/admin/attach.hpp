// Puts the triggers on a homeserver's tables. They are taken off by sliding_sync.detach(), in SQL.
#pragma once

#include "guard/boundary.hpp"

namespace sliding_sync {

/// Name of every trigger of ours. Triggers fire in the order of their names: this one comes before those of
/// the foreign keys (RI_ConstraintTrigger_...), so that references to deleted events are cleared in time
/// (live/clear_references.hpp).
inline constexpr const char* trigger_name = "A_sliding_sync";
inline constexpr const char* truncate_trigger_name = "A_sliding_sync_truncate";

/// Attaches to the homeserver in `schema`, or in the only schema that is attached or else holds one when
/// `schema` is nothing. Makes the derived tables when they are missing, and leaves a record in
/// sliding_sync.attachments. Does nothing where it was done before. Returns the schema's name. Raises: 3F000
/// no such schema, 42P01 no homeserver there, 42P17 tables of another shape, 42501 tables of another owner,
/// 0A000 an encoding that no homeserver has, 55P03 the tables were in use all the time.
std::string attach(const std::optional<std::string>& schema);

/// The same for CREATE EXTENSION: nothing to attach to is a WARNING that says what to call.
void attach_at_creation();

}  // namespace sliding_sync
