#include "cli/offline/verify.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <functional>
#include <random>
#include <utility>

#include "cli/offline/history.hpp"
#include "cli/printable.hpp"
#include "cli/sql.hpp"

namespace sliding_sync::cli::offline {

namespace {

constexpr std::size_t keys_per_slice = 500;
// Keys alone are cheap to read; of a sample few are looked at.
constexpr std::size_t keys_per_page = 20'000;

/// Which keys, as a template for `sql_text` and its parameters.
struct Condition {
    std::string text = "true";
    Parameters values;

    /// `pattern` has a place for each value.
    template <typename... Values>
    void add(std::string_view pattern, const Values&... added) {
        const auto place = [&](const std::string& value) {
            values.emplace_back(value);
            return fmt::format("${}", values.size());
        };
        const std::array<std::string, sizeof...(added)> places{place(added)...};
        text += " AND " +
                std::apply([&](const auto&... each) { return fmt::format(fmt::runtime(pattern), each...); },
                           places);
    }
};

class Verification {
public:
    Verification(Database& database, const Homeserver& homeserver, const Options& options)
        : database_(database), reader_(database, homeserver, options), options_(options) {}

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
    // Everything of a slice is read at one moment.
    void at_one_moment(const std::function<void()>& read) {
        in_transaction(database_, read);
    }

    [[nodiscard]] std::size_t page_size() const {
        return options_.sample < 1 ? keys_per_page : keys_per_slice;
    }

    [[nodiscard]] bool is_drawn() {
        return options_.sample >= 1 || std::uniform_real_distribution<>(0, 1)(random_) < options_.sample;
    }

    // Of the homeserver's own table and of the derived one: a row may be one too many.
    [[nodiscard]] Rows key_page(const std::string& columns, const std::string& own,
                                const std::string& derived, const Condition& condition) {
        const auto part = [&](const std::string& table) {
            return fmt::format("(SELECT {0} FROM %S.{1} WHERE {2} ORDER BY {0} LIMIT {3})", columns, table,
                               condition.text, page_size());
        };
        return reader_.ask(fmt::format("SELECT {0} FROM ({1} UNION {2}) x ORDER BY {0} LIMIT {3}", columns,
                                       part(own), part(derived), page_size()),
                           condition.values);
    }

    [[nodiscard]] Condition range() const {
        Condition condition;
        if (options_.room) {
            condition.add("room_id %= {}", *options_.room);
            return condition;
        }
        if (options_.first_room) {
            condition.add("room_id %>= {}", *options_.first_room);
        }
        if (options_.last_room) {
            condition.add("room_id %<= {}", *options_.last_room);
        }
        return condition;
    }

    void rooms() {
        std::optional<std::string> after;
        std::size_t found = page_size();
        while (found == page_size()) {
            Condition condition = range();
            if (after) {
                condition.add("room_id %> {}", *after);
            }
            at_one_moment([&] {
                const Rows page =
                    key_page("room_id", table_name(BaseTable::rooms), joined_rooms_table, condition);
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
        while (found == page_size()) {
            Condition condition = range();
            if (options_.member) {
                condition.add("user_id %= {}", *options_.member);
            }
            if (after) {
                condition.add("(room_id, user_id) %> ({}, {})", after->room_id, after->user_id);
            }
            at_one_moment([&] {
                const Rows page =
                    key_page("room_id, user_id", table_name(BaseTable::local_current_membership),
                             membership_snapshots_table, condition);
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

    // Of one row, from its first finding on.
    void count(Looked& looked, std::size_t first) {
        std::set<std::string> reasons;
        for (std::size_t i = first; i < verified_.findings.size(); ++i) {
            reasons.insert(reason_code(verified_.findings[i].reason));
        }
        looked.wrong += reasons.empty() ? 0 : 1;
        for (const std::string& reason : reasons) {
            ++looked.reasons[reason];
        }
    }

    void look_at_rooms(const Texts& keys) {
        for (const RoomComparison& room : compare_rooms(reader_, keys)) {
            const std::size_t first = verified_.findings.size();
            add_findings(verified_.findings, room.room_id, room.stored, room.expected);
            count(verified_.rooms, first);
        }
        verified_.rooms.keys += static_cast<std::int64_t>(keys.size());
    }

    void look_at_memberships(const MembershipKeys& keys) {
        MembershipKeys remembered;  // whose history is what the row says
        for (const MembershipComparison& membership :
             compare_memberships(reader_, keys, rules::RefreshMode::recompute)) {
            const std::size_t first = verified_.findings.size();
            add_findings(verified_.findings, membership.key.room_id, membership.key.user_id,
                         membership.stored, membership.expected);
            count(verified_.memberships, first);
            if (membership.stored == membership.expected &&
                membership.source == rules::SnapshotSource::keep) {
                remembered.push_back(membership.key);
            }
            if (membership.has_source_conflict) {
                add_source_conflict(verified_.findings, membership.key.room_id, membership.key.user_id,
                                    membership.stored);
            }
        }
        if (!options_.skips_history && !remembered.empty()) {
            judge_history(reader_, remembered, verified_.findings);
        }
        verified_.memberships.keys += static_cast<std::int64_t>(keys.size());
    }

    Database& database_;
    Reader reader_;
    const Options& options_;
    Verified verified_;
    std::mt19937_64 random_{std::random_device{}()};
};

std::string counted(const Looked& looked, const char* what) {
    std::string text = fmt::format("of {} {} looked at {} {} wrong", grouped(looked.keys), what,
                                   grouped(looked.wrong), looked.wrong == 1 ? "is" : "are");
    const char* separator = ": ";
    for (const auto& [reason, rows] : looked.reasons) {
        text += fmt::format("{}{} {}", std::exchange(separator, ", "), grouped(rows), reason);
    }
    return text;
}

}  // namespace

Verified verify(Database& database, const Options& options) {
    Homeserver homeserver;
    in_transaction(database, [&] {
        homeserver = find_homeserver(database, options);
        if (homeserver.has_derived_tables && !options.trusts_owner) {
            refuse_greater_rights(database, homeserver, options);
        }
    });
    if (!homeserver.has_derived_tables) {
        throw Failure(
            ExitCode::error,
            fmt::format("schema \"{}\" has no derived tables: there is nothing to verify", homeserver.schema),
            "The homeserver is older than they are, or keeps them elsewhere.",
            "CREATE EXTENSION sliding_sync makes them.");
    }
    return Verification(database, homeserver, options).verify();
}

std::vector<std::string> summary(const Verified& verified) {
    std::vector<std::string> lines;
    if (verified.rooms.keys > 0) {
        lines.push_back(counted(verified.rooms, "rooms"));
    }
    if (verified.memberships.keys > 0) {
        lines.push_back(counted(verified.memberships, "memberships"));
    }
    return lines;
}

std::vector<std::string> dry_run(const Options& options) {
    std::vector<std::string> lines;
    for (const std::string& statement : begin_statements()) {
        lines.push_back(statement + ";");
    }
    lines.push_back(find_text(options) + ";");
    if (options.command == "verify") {
        lines.emplace_back("-- then SELECTs, for 500 keys at a time in such a transaction of their own;");
        lines.emplace_back("-- what they are depends on what is found; --echo prints each as it is sent");
    }
    lines.emplace_back("COMMIT;");
    lines.emplace_back(
        "-- ACCESS SHARE on the homeserver's tables and the derived ones: keeps nobody waiting but ALTER "
        "TABLE and the like.");
    return lines;
}

namespace {

Rows read_status(Database& database, const Options& options) {
    const Homeserver homeserver = find_homeserver(database, options);
    const auto estimate = [&](const char* table) {
        return fmt::format(
            "(SELECT CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {} AND c.relname = '{}')",
            sql_literal(homeserver.schema), table);
    };
    const std::string sql = fmt::format(
        "SELECT {}::text AS schema_name, (SELECT extversion FROM pg_extension WHERE extname = "
        "'sliding_sync') AS extension_version, {}::boolean AS has_derived_tables, {} AS "
        "rooms_estimate, {} AS memberships_estimate, {} AS joined_rooms_estimate, {} AS "
        "membership_snapshots_estimate",
        sql_literal(homeserver.schema), homeserver.has_derived_tables ? "true" : "false",
        estimate(table_name(BaseTable::rooms)), estimate(table_name(BaseTable::local_current_membership)),
        estimate(joined_rooms_table), estimate(membership_snapshots_table));
    return run(database, options.json ? fmt::format("SELECT to_json(r) FROM ({}) r", sql) : sql, options);
}

}  // namespace

Rows status(Database& database, const Options& options) {
    Rows rows;
    in_transaction(database, [&] { rows = read_status(database, options); });
    return rows;
}

}  // namespace sliding_sync::cli::offline
