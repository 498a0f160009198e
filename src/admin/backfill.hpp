// CALL sliding_sync.backfill(): fills and corrects both tables while the homeserver runs.
#pragma once

#include "admin/run_log.hpp"
#include "pg/procedure.hpp"

namespace sliding_sync {

struct BackfillOptions {
    RunScope scope;
    Oid namespace_oid = InvalidOid;
    std::optional<std::int64_t> batch_size;  ///< keys; nothing: as many as fit into batch_seconds
    double batch_seconds = 0.1;
    double pause_seconds = 0;
    double share = 1;  ///< of the time to work: 0.5 rests as long as it worked
    std::optional<double> max_seconds;
    bool restart = false;
    std::optional<bool> verbose;  ///< nothing: reports where it takes long
    std::optional<std::int64_t>
        run;  ///< this one and no other; nothing: the unfinished one of the scope, or a new one
};

struct Backfilled {
    std::int64_t joined_rooms = 0;  ///< looked at, by this call
    std::int64_t memberships = 0;
    std::int64_t rows_written = 0;
    std::int64_t quarantined = 0;
    bool is_finished = false;  ///< the whole run, other sessions' work included; not when another began anew
};

/// The unfinished run of this scope, or a new one, for sessions that name it.
std::int64_t begin_backfill(Procedure& procedure, const BackfillOptions& options);

/// Goes on with the unfinished run of this scope or begins one; sessions that do so at once share the work.
/// Commits after each batch, and the run's progress with it: a call that is killed or cancelled loses the
/// batch in hand only. A row that cannot be made goes into quarantine; a lock that cannot be had soon makes
/// the batch wait, never the homeserver.
Backfilled backfill(Procedure& procedure, const BackfillOptions& options);

}  // namespace sliding_sync
