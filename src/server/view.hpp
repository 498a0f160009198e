// Which rows are seen: the snapshots that statements and readers work with.
#pragma once

#include "guard/boundary.hpp"

namespace sliding_sync {

/// Which rows a statement sees.
enum class View {
    current,             ///< everything committed for this transaction plus its own changes
    before_transaction,  ///< the same without this transaction's own changes: read-only
    latest,              ///< everything committed by now, whatever the isolation level: read-only
};

/// Makes what the view sees the active snapshot, until PopActiveSnapshot. C calls only: runs inside call_pg.
void push_view(View view);

/// While one is open, every statement reads the same moment: several of them together tell the truth although other
/// transactions commit between them. Reads only; opened outside any SpiConnection.
class OneMoment {
public:
    OneMoment();
    ~OneMoment();
    OneMoment(const OneMoment&) = delete;
    OneMoment& operator=(const OneMoment&) = delete;

private:
    int exceptions_;
};

[[nodiscard]] bool is_one_moment() noexcept;

/// While one is open, statements read and write what is committed by now at every isolation level, as READ COMMITTED
/// does. For rows that are locked by then (row_lock.hpp): nobody else's change to them can be overwritten unseen.
class AsOfNow {
public:
    AsOfNow() noexcept;
    ~AsOfNow();
    AsOfNow(const AsOfNow&) = delete;
    AsOfNow& operator=(const AsOfNow&) = delete;
};

[[nodiscard]] bool is_as_of_now() noexcept;

}  // namespace sliding_sync
