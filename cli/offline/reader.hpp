// Facts of a homeserver's tables, many keys a statement, by the extension's own SQL where it has some.
// Answers are in the order of the keys.
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
#include "shared/derived_columns.hpp"
#include "shared/fact_sql.hpp"

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

/// What is asked about an event: is it redacted?
struct RedactionCandidate {
    std::string event_id;
    std::string room_id;
    std::optional<std::string> sender;
    std::string_view json;
    std::optional<std::int64_t> stream_ordering;
};

/// A value as SQL.
struct Parameter {
    Parameter(const Texts& values);
    Parameter(const std::string& value);

    std::string sql;
};

using Parameters = std::vector<Parameter>;

class Reader {
public:
    Reader(Database& database, const Homeserver& homeserver, const Options& options)
        : database_(database), homeserver_(homeserver), options_(options) {}

    [[nodiscard]] const OptionalTables& tables() const noexcept {
        return homeserver_.tables;
    }

    /// A template for `sql_text`, and its parameters $1, $2, ...
    Rows ask(std::string_view text, const Parameters& parameters = {});

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

private:
    void read_details(std::vector<rules::MembershipFacts>& facts);
    void read_been_in_state(std::vector<rules::MembershipFacts>& facts);

    Database& database_;
    const Homeserver& homeserver_;
    const Options& options_;
};

/// Whether something may redact the event `e`: most events cannot be. A template for `sql_text`.
[[nodiscard]] std::string may_be_redacted(const OptionalTables& tables);

/// The rooms and the users of keys.
[[nodiscard]] Parameters columns_of(const MembershipKeys& keys);

[[nodiscard]] std::optional<std::int64_t> optional_number(const Value& value);
[[nodiscard]] std::size_t position(const Value& ordinality);

}  // namespace sliding_sync::cli::offline
