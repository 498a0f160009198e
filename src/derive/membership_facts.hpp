// Reads what the rules need to know of local memberships, for sets of them.
#pragma once

#include <set>

#include "derive/derived_table.hpp"
#include "derive/redactions.hpp"
#include "derive/refresh_scope.hpp"
#include "rules/membership_snapshot.hpp"

namespace sliding_sync {

/// The user's latest other invite or knock (D22); empty json when there is none.
struct EarlierInvite {
    std::string json;
    std::string membership;
    bool redacted = false;
};

/// Every function answers in the order of its keys, inside an open SpiConnection. Bad data is never an error
/// here: what is missing or unreadable comes out empty.
class MembershipFacts {
public:
    MembershipFacts(const HomeserverSchema& schema, Redactions& redacted,
                    DerivedTable<MembershipSnapshots>& snapshots);

    /// What the rules need to know; `stored` are the snapshots of these keys.
    std::vector<rules::MembershipFacts> facts(std::span<const MembershipKey> keys,
                                              std::span<const Stored<MembershipSnapshots>> stored,
                                              RefreshScope& scope, rules::RefreshMode mode);
    std::vector<EarlierInvite> earlier_invites(std::span<const MembershipKey> keys,
                                               std::span<const std::string_view> but_not_event_ids);

private:
    /// Event and membership by user.
    using InRoom = std::unordered_map<std::string_view, std::span<const Cell>>;
    InRoom read_room(LookupScope& scope, std::string_view room_id, std::size_t asked);
    void read_memberships(LookupScope& scope, std::span<rules::MembershipFacts> memberships);
    void read_event(LookupScope& scope, rules::MembershipFacts& facts);
    void read_rooms_with_state(RefreshScope& scope, std::vector<rules::MembershipFacts>& memberships);
    void read_details(LookupScope& scope, std::span<rules::MembershipFacts> memberships);
    void read_been_in_state(std::vector<rules::MembershipFacts>& memberships);
    void read_before(std::span<const MembershipKey> keys, std::span<const Stored<MembershipSnapshots>> stored,
                     const MembershipsBefore& before, std::vector<rules::MembershipFacts>& memberships);

    Redactions& redacted_;
    DerivedTable<MembershipSnapshots>& snapshots_;
    TableReader rooms_;
    TableReader memberships_;
    TableReader memberships_of_room_;
    TableReader events_;
    TableReader room_memberships_;
    TableReader current_state_;
    TableReader json_;
    Statement rooms_with_state_;
    Statement been_in_state_;
    Statement earlier_invites_;
};

}  // namespace sliding_sync
