// What the passes of one refresh share: what is known of its transaction, and what is asked of a room only
// once, however many of its memberships change.
#pragma once

#include "derive/fact_sql.hpp"
#include "rules/room_state.hpp"
#include "shared/finding.hpp"

namespace sliding_sync {

/// Relevant state that outlives the look that has found it.
class KeptState {
public:
    explicit KeptState(const rules::StateEvents& found) : events_(found) {
        for (std::size_t kind = 0; kind < rules::state_kind_count; ++kind) {
            if (events_[kind]) {
                documents_[kind] = found[kind]->json;
                events_[kind]->json = documents_[kind];
            }
        }
    }
    KeptState(const KeptState&) = delete;
    KeptState& operator=(const KeptState&) = delete;

    [[nodiscard]] const rules::StateEvents& events() const noexcept {
        return events_;
    }

private:
    std::array<std::string, rules::state_kind_count> documents_;
    rules::StateEvents events_;
};

struct RefreshScope {
    /// Hint: what happened before the transaction's inserted events is older than these, by room.
    std::map<std::string_view, std::int64_t> oldest_new;
    MembershipsBefore before;
    bool keep_changing =
        false;  ///< the keys change again whenever their rows are written: the rows have to go

    std::uint64_t generation = 0;  ///< of the catalog, when it was known which tables are plain

    /// What a row of this transaction holds, another writer has written.
    bool notes_corrections = false;
    Findings corrections;

    /// Where this transaction has written or deleted the state of a big room, each look walks over all of it.
    std::map<std::string, bool, std::less<>> has_current_state;
    /// RoomFacts::wiped_state
    std::map<std::string, KeptState, std::less<>> wiped_state;
};

}  // namespace sliding_sync
