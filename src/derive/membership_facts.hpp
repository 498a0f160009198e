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

    std::vector<StoredMembership> memberships(std::span<const MembershipKey> keys);
    std::vector<EarlierInvite> earlier_invites(std::span<const MembershipKey> keys,
                                               std::span<const std::string_view> but_not_event_ids);

private:
    std::set<std::string> rooms_with_state(const std::set<std::string>& room_ids, View view);
    void read_rooms_with_state(std::vector<StoredMembership>& memberships);

    RedactionVerdicts& redacted_;
    Statement lock_;
    Statement memberships_;
    Statement rooms_with_state_;
    Statement memberships_before_;
    Statement earlier_invites_;
};

}  // namespace sliding_sync
