#include "cli/offline/verify.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <random>

#include "cli/offline/history.hpp"
#include "cli/sql.hpp"

namespace sliding_sync::cli::offline {

namespace {

constexpr std::size_t keys_per_slice = 500;
// Keys alone are cheap to read; of a sample few are looked at.
constexpr std::size_t keys_per_page = 20'000;

class Verification {
public:
    Verification(Database& database, const Homeserver& homeserver, const Options& options)
        : reader_(database, homeserver, options), options_(options) {
        verified_.findings = no_findings();
    }

    Verified verify() {
        if (options_.tables != "memberships" && !options_.member) {
            rooms();
        }
        if (options_.tables != "joined_rooms") {
            memberships();
        }
        return std::move(verified_);
    }

private:
    [[nodiscard]] std::string t(std::string_view name) const {
        return reader_.homeserver().table(name);
    }

    // Everything of a slice is read at one moment.
    void at_one_moment(const std::function<void()>& read) {
        reader_.ask("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
        read();
        reader_.ask("COMMIT");
    }

    [[nodiscard]] std::size_t page_size() const {
        return options_.sample < 1 ? keys_per_page : keys_per_slice;
    }

    [[nodiscard]] bool is_drawn() {
        return options_.sample >= 1 || std::uniform_real_distribution<>(0, 1)(random_) < options_.sample;
    }

    // Of the homeserver's own table and of the derived one: a row may be one too many.
    [[nodiscard]] std::string key_page(std::string_view columns, const char* own, const char* derived,
                                       const std::string& condition) const {
        const auto part = [&](const char* table) {
            return fmt::format("(SELECT {0} FROM {1} WHERE {2} ORDER BY {0} LIMIT {3})", columns, t(table),
                               condition, page_size());
        };
        const std::string both = part(own) + " UNION " + part(derived);
        return fmt::format("SELECT {0} FROM ({1}) x ORDER BY {0} LIMIT {2}", columns, both, page_size());
    }

    [[nodiscard]] std::string range() const {
        std::string condition;
        if (options_.room) {
            return fmt::format(" AND room_id = {}", sql_literal(*options_.room));
        }
        if (options_.first_room) {
            condition += fmt::format(" AND room_id >= {}", sql_literal(*options_.first_room));
        }
        if (options_.last_room) {
            condition += fmt::format(" AND room_id <= {}", sql_literal(*options_.last_room));
        }
        return condition;
    }

    void rooms() {
        std::optional<std::string> after;
        std::size_t found = page_size();
        while (found == page_size()) {
            const std::string condition =
                (after ? fmt::format("room_id > {}", sql_literal(*after)) : std::string("true")) + range();
            at_one_moment([&] {
                const Rows page =
                    reader_.ask(key_page("room_id", "rooms", "sliding_sync_joined_rooms", condition));
                found = page.values.size();
                Texts keys;
                for (const auto& row : page.values) {
                    after = *row[0];
                    if (is_drawn()) {
                        keys.push_back(*row[0]);
                    }
                }
                for (std::size_t begin = 0; begin < keys.size(); begin += keys_per_slice) {
                    look_at_rooms({keys.begin() + static_cast<std::ptrdiff_t>(begin),
                                   keys.begin() + static_cast<std::ptrdiff_t>(
                                                      std::min(begin + keys_per_slice, keys.size()))});
                }
            });
        }
    }

    void memberships() {
        std::optional<MembershipKey> after;
        std::size_t found = page_size();
        const std::string user =
            options_.member ? fmt::format(" AND user_id = {}", sql_literal(*options_.member)) : "";
        while (found == page_size()) {
            std::string condition =
                (after ? fmt::format("(room_id, user_id) > ({}, {})", sql_literal(after->room_id),
                                     sql_literal(after->user_id))
                       : std::string("true")) +
                range() + user;
            at_one_moment([&] {
                const Rows page = reader_.ask(key_page("room_id, user_id", "local_current_membership",
                                                       "sliding_sync_membership_snapshots", condition));
                found = page.values.size();
                MembershipKeys keys;
                for (const auto& row : page.values) {
                    after = MembershipKey{*row[0], *row[1]};
                    if (is_drawn()) {
                        keys.push_back(*after);
                    }
                }
                for (std::size_t begin = 0; begin < keys.size(); begin += keys_per_slice) {
                    look_at_memberships({keys.begin() + static_cast<std::ptrdiff_t>(begin),
                                         keys.begin() + static_cast<std::ptrdiff_t>(
                                                            std::min(begin + keys_per_slice, keys.size()))});
                }
            });
        }
    }

    void look_at_rooms(const Texts& keys) {
        for (const RoomComparison& room : compare_rooms(reader_, keys)) {
            verified_.wrong_rooms += add_findings(verified_.findings, room) ? 1 : 0;
        }
        verified_.rooms += static_cast<std::int64_t>(keys.size());
    }

    void look_at_memberships(const MembershipKeys& keys) {
        MembershipKeys remembered;  // whose history is what the row says
        for (const MembershipComparison& membership :
             compare_memberships(reader_, keys, rules::RefreshMode::recompute)) {
            if (add_findings(verified_.findings, membership)) {
                ++verified_.wrong_memberships;
            } else if (membership.source == rules::SnapshotSource::keep) {
                remembered.push_back(membership.key);
            }
            if (membership.has_source_conflict) {
                add_source_conflict(verified_.findings, membership);
            }
        }
        if (!options_.skips_history && !remembered.empty()) {
            judge_history(reader_, remembered, verified_.findings);
        }
        verified_.memberships += static_cast<std::int64_t>(keys.size());
    }

    Reader reader_;
    const Options& options_;
    Verified verified_;
    std::mt19937_64 random_{std::random_device{}()};
};

std::string counted(std::int64_t looked_at, const char* what, std::int64_t wrong) {
    return fmt::format("of {} {} looked at {} {} wrong", looked_at, what, wrong, wrong == 1 ? "is" : "are");
}

}  // namespace

Verified verify(Database& database, const Options& options) {
    if (!(options.sample > 0 && options.sample <= 1)) {
        throw Failure(ExitCode::usage, "--sample must be more than 0 and at most 1");
    }
    const Homeserver homeserver = find_homeserver(database, options);
    if (!homeserver.has_derived_tables) {
        throw Failure(
            ExitCode::error,
            fmt::format("schema \"{}\" has no derived tables: there is nothing to verify", homeserver.schema),
            "The homeserver is older than they are, or keeps them elsewhere.",
            "CREATE EXTENSION sliding_sync makes them.");
    }
    prepare_session(database);
    return Verification(database, homeserver, options).verify();
}

std::string summary(const Verified& verified) {
    return counted(verified.rooms, "rooms", verified.wrong_rooms) + ", " +
           counted(verified.memberships, "memberships", verified.wrong_memberships);
}

Rows status(Database& database, const Options& options) {
    const Homeserver homeserver = find_homeserver(database, options);
    prepare_session(database);
    const auto estimate = [&](const char* table) {
        return fmt::format(
            "(SELECT CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {} AND c.relname = '{}')",
            sql_literal(homeserver.schema), table);
    };
    const std::string sql =
        fmt::format("SELECT {}::text AS schema_name, (SELECT extversion FROM pg_extension WHERE extname = "
                    "'sliding_sync') AS extension_version, {}::boolean AS has_derived_tables, {} AS "
                    "rooms_estimate, {} AS memberships_estimate, {} AS joined_rooms_estimate, {} AS "
                    "membership_snapshots_estimate",
                    sql_literal(homeserver.schema), homeserver.has_derived_tables ? "true" : "false",
                    estimate("rooms"), estimate("local_current_membership"),
                    estimate("sliding_sync_joined_rooms"), estimate("sliding_sync_membership_snapshots"));
    return run(database, options.json ? fmt::format("SELECT to_json(r) FROM ({}) r", sql) : sql, options);
}

}  // namespace sliding_sync::cli::offline
