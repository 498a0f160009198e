// Facts of a homeserver's tables by plain SQL, many keys a statement. Answers are in the order of the keys.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "cli/offline/homeserver.hpp"
#include "rules/joined_room.hpp"
#include "rules/membership_snapshot.hpp"

namespace sliding_sync::cli::offline {

using Texts = std::vector<std::string>;

struct MembershipKey {
    std::string room_id;
    std::string user_id;

    friend auto operator<=>(const MembershipKey&, const MembershipKey&) = default;
};

using MembershipKeys = std::vector<MembershipKey>;

/// Ids by StateKind; empty: none.
using StateEventIds = std::array<std::string, rules::state_kind_count>;

struct Orderings {
    std::optional<std::int64_t> latest;
    std::optional<std::int64_t> latest_bump;
};

struct EarlierInvite {
    std::string membership;  ///< empty: there is none
    std::string json;
    bool redacted = false;
};

/// What can be asked about the verdict on an event: is it redacted?
struct RedactionCandidate {
    std::string event_id;
    std::string room_id;
    std::optional<std::string> sender;
    std::string_view json;
    std::optional<std::int64_t> stream_ordering;
};

class Reader {
public:
    Reader(Database& database, const Homeserver& homeserver, const Options& options)
        : database_(database), homeserver_(homeserver), options_(options) {}

    [[nodiscard]] const Homeserver& homeserver() const noexcept {
        return homeserver_;
    }
    Rows ask(const std::string& sql) {
        return run(database_, sql, options_);
    }

    // rooms
    [[nodiscard]] std::set<std::string> in_rooms(const Texts& room_ids);
    [[nodiscard]] std::map<std::string, rules::JoinedRoom> stored_rooms(const Texts& room_ids);
    [[nodiscard]] std::map<std::string, Orderings> orderings(const Texts& room_ids);
    [[nodiscard]] std::map<std::string, StateEventIds> current_state(const Texts& room_ids);

    // memberships
    [[nodiscard]] std::map<MembershipKey, rules::MembershipSnapshot>
    stored_snapshots(const MembershipKeys& keys);
    /// Without `previous` and `mode`.
    [[nodiscard]] std::vector<rules::MembershipFacts> membership_facts(const MembershipKeys& keys);
    [[nodiscard]] std::vector<EarlierInvite> earlier_invites(const MembershipKeys& keys,
                                                             const Texts& but_not);

    [[nodiscard]] std::vector<bool> redacted(const std::vector<RedactionCandidate>& candidates);

    /// SQL that says whether the event `e` may be redacted, and whether it is rejected.
    [[nodiscard]] std::string may_be_redacted() const;
    [[nodiscard]] std::string is_rejected() const;

private:
    [[nodiscard]] std::string t(std::string_view name) const {
        return homeserver_.table(name);
    }
    void read_details(std::vector<rules::MembershipFacts>& facts);
    void read_been_in_state(std::vector<rules::MembershipFacts>& facts);

    Database& database_;
    const Homeserver& homeserver_;
    const Options& options_;
};

[[nodiscard]] std::string sql_array(const Texts& values);
[[nodiscard]] std::string relevant_types();
/// `unnest(...) WITH ORDINALITY k(room_id, user_id, n)`
[[nodiscard]] std::string membership_rows(const MembershipKeys& keys);
[[nodiscard]] std::optional<std::int64_t> optional_number(const Value& value);
[[nodiscard]] std::size_t position(const Value& ordinality);
/// Of the columns room_type, room_name, is_encrypted, tombstone_successor_room_id.
[[nodiscard]] rules::RoomState room_state(const Rows& rows, std::size_t row);

}  // namespace sliding_sync::cli::offline
