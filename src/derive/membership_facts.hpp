// Reads what the rules need to know of local memberships, for sets of them.
#pragma once

#include <set>

#include "derive/redaction_verdicts.hpp"
#include "rules/membership_snapshot.hpp"

namespace sliding_sync {

/// A membership's facts and its snapshot as stored now.
struct StoredMembership {
    rules::MembershipFacts facts;
    std::optional<rules::MembershipSnapshot> row;
    bool row_written_by_this_transaction = false;
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
    MembershipFacts(const HomeserverSchema& schema, RedactionVerdicts& redacted);

    /// Locks the stored rows in the order of the (sorted) keys. Needed before reading at READ COMMITTED only.
    void lock(std::span<const MembershipKey> keys);

    /// Of memberships without a snapshot: keeps the membership until the end of the transaction, and whether it is
    /// forgotten where that alone would not make a change derive a row (joins, invites and knocks get one in any case).
    void lock_inputs(std::span<const MembershipKey> keys);

    /// Whether one of them has a snapshot by now, even if this transaction does not see it.
    bool exist_by_now(std::span<const MembershipKey> keys);
    /// The same for a snapshot that names this event.
    bool is_referred_to_by_now(std::string_view event_id);

    std::vector<StoredMembership> memberships(std::span<const MembershipKey> keys,
                                              const MembershipsBefore& before, rules::Occasion occasion);
    std::vector<EarlierInvite> earlier_invites(std::span<const MembershipKey> keys,
                                               std::span<const std::string_view> but_not_event_ids);

private:
    void read_event(Reading& reading, rules::MembershipFacts& facts);
    std::set<std::string> rooms_with_state(const std::set<std::string>& room_ids, View view);
    void read_rooms_with_state(std::vector<StoredMembership>& memberships);
    void read_details(Reading& reading, std::span<StoredMembership> memberships);
    void read_been_in_state(std::vector<StoredMembership>& memberships);
    void read_before(std::span<const MembershipKey> keys, const MembershipsBefore& before,
                     std::vector<StoredMembership>& memberships);

    RedactionVerdicts& redacted_;
    Statement lock_;
    bool has_snapshots_;
    Statement lock_memberships_;
    Statement lock_forgotten_;
    Statement exist_;
    Statement event_reference_;
    TableReader rooms_;
    TableReader memberships_;
    TableReader events_;
    TableReader room_memberships_;
    TableReader current_state_;
    TableReader snapshots_;
    TableReader json_;
    Statement rooms_with_state_;
    Statement been_in_state_;
    Statement earlier_invites_;
};

}  // namespace sliding_sync
