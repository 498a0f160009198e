// Reads what the rules need to know of local memberships, for sets of them.
#pragma once

#include <set>

#include "derive/redactions.hpp"
#include "rules/membership_snapshot.hpp"

namespace sliding_sync {

/// A membership's snapshot as stored now.
struct StoredSnapshot {
    bool written_by_this_transaction = false;
    std::optional<rules::MembershipSnapshot> row;
};

/// The user's latest other invite or knock (D22); empty json when there is none.
struct EarlierInvite {
    std::string json;
    std::string membership;
    bool redacted = false;
};

/// Every function answers in the order of its keys, inside an open SpiConnection. Bad data is never an error here:
/// what is missing or unreadable comes out empty.
class MembershipFacts {
public:
    MembershipFacts(const HomeserverSchema& schema, Redactions& redacted);

    /// Of memberships without a snapshot: keeps the membership until the end of the transaction, and whether it is
    /// forgotten where that alone would not make a change derive a row (joins, invites and knocks get one in any case).
    void lock_source_rows(std::span<const MembershipKey> keys);

    std::vector<StoredSnapshot> stored(std::span<const MembershipKey> keys);
    /// The same rows as they are by now, locked in the order of the (sorted) keys until the transaction ends.
    std::vector<StoredSnapshot> lock(std::span<const MembershipKey> keys);

    /// What the rules need to know; `stored` are the snapshots of these keys.
    std::vector<rules::MembershipFacts> facts(std::span<const MembershipKey> keys,
                                              std::span<const StoredSnapshot> stored,
                                              const MembershipsBefore& before, rules::RefreshMode mode);
    std::vector<EarlierInvite> earlier_invites(std::span<const MembershipKey> keys,
                                               std::span<const std::string_view> but_not_event_ids);

    /// Another membership whose snapshot has this ordering, which only one may have.
    std::optional<MembershipKey> holder_of(std::int64_t ordering, const MembershipKey& but_not);

    /// Whether the transaction's own snapshot, by which its foreign keys are checked, shows what the row refers to.
    bool can_be_referred_to(const rules::MembershipSnapshot& row);

private:
    StoredSnapshot stored_snapshot(const MembershipKey& key, const Rows& rows);
    void read_event(LookupScope& scope, rules::MembershipFacts& facts);
    void read_rooms_with_state(std::vector<rules::MembershipFacts>& memberships);
    void read_details(LookupScope& scope, std::span<rules::MembershipFacts> memberships);
    void read_been_in_state(std::vector<rules::MembershipFacts>& memberships);
    void read_before(std::span<const MembershipKey> keys, std::span<const StoredSnapshot> stored,
                     const MembershipsBefore& before, std::vector<rules::MembershipFacts>& memberships);

    Redactions& redacted_;
    Statement lock_memberships_;
    Statement lock_forgotten_;
    TableReader rooms_;
    TableReader memberships_;
    TableReader events_;
    TableReader room_memberships_;
    TableReader current_state_;
    TableReader snapshots_;
    TableReader holders_;
    TableReader json_;
    Statement rooms_with_state_;
    Statement been_in_state_;
    Statement earlier_invites_;
    Statement referred_to_;
};

}  // namespace sliding_sync
