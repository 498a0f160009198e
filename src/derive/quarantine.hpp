// Where keys are noted whose derived rows could not be made (docs/architecture.md#failure).
#pragma once

#include "derive/fact_sql.hpp"

namespace sliding_sync {

/// What went wrong, as far as a row of quarantine says it.
struct Failure {
    int sqlstate;
    std::string message;
};

struct QuarantineKey {
    std::string_view room_id;
    std::optional<std::string_view> user_id;  ///< nothing for a room's own row
};

/// Why a key is in quarantine; documented in docs/diagnostics.md.
enum class QuarantineReason : std::uint8_t {
    refresh_failed,        ///< its facts could not be read, or its row could not be written
    circuit_breaker_open,  ///< refreshes had kept failing: its row was removed without another try
    unreadable,            ///< tables could not be understood: every row was removed; the key is empty
    stale,                 ///< it was changed without the triggers, and removed by catch_up()
    lookup_failed,         ///< which rooms a change concerns could not be found out; the key is empty
};

/// A table or sequence of the extension's schema; nothing when it is gone.
[[nodiscard]] Oid extension_relation(const char* name);

[[nodiscard]] const char* reason_code(QuarantineReason reason) noexcept;

/// Adds a row for each key to sliding_sync.quarantine, unless it stands there with this SQLSTATE already.
/// Written as the owner of that table, since no other role may, and in a subtransaction: a note that cannot
/// be written is counted by the sequence sliding_sync.lost_records, and fails no transaction. A homeserver
/// that is not attached at the moment is noted by the name that its tables were covered by, if they ever
/// were. Does nothing when the extension is gone.
void quarantine(const HomeserverSchema& schema, const char* derived_table,
                std::span<const QuarantineKey> keys, QuarantineReason reason, const Failure& failure);

/// Counts a note that could not be written.
void count_lost_record();

}  // namespace sliding_sync
