// What is asked of a list, and the SQL that answers it: which rooms, and in which order.
#pragma once

#include "list/list_tables.hpp"
#include "pg/caller_query.hpp"
#include "pg/sql_call.hpp"

namespace sliding_sync {

/// Filters that are not there let every room pass.
struct ListFilters {
    std::optional<bool> is_dm;
    std::optional<bool> is_encrypted;
    std::optional<bool> is_invite;
    std::optional<TextList> room_types;  ///< nothing among them: rooms without a type
    std::optional<TextList> not_room_types;
    std::optional<TextList> tags;
    std::optional<TextList> not_tags;
    std::optional<TextList> spaces;
    std::optional<std::string> room_name_like;
};

enum class ListOrder : std::uint8_t { recency, bump, name };

struct ListRequest {
    std::string user_id;
    ListFilters filters;
    std::optional<TextList> known_versions;
};

/// Rooms that a filter names by way of another table, read once.
struct ListSets {
    std::vector<std::string> direct_rooms;
    std::vector<std::string> children_of_spaces;
};

/// Inside an open CallerConnection. Raises 42501 where the caller may not read what this list needs.
[[nodiscard]] ListSets read_list_sets(const ListTables& tables, const ListRequest& request);

/// The versions whose rooms are listed, and the elements of a list that are not NULL; views of the request.
[[nodiscard]] std::vector<std::optional<std::string_view>> known_versions(const ListRequest& request);
[[nodiscard]] std::vector<std::optional<std::string_view>> not_null(const std::optional<TextList>& list);
[[nodiscard]] bool has_null(const std::optional<TextList>& list);

inline constexpr const char* all_memberships = "%S.sliding_sync_membership_snapshots s";

/// The parameters $1 to $14 of every list's query; its own come after them. Inside an open CallerConnection.
[[nodiscard]] Arguments list_arguments(const ListRequest& request, const ListSets& sets);
[[nodiscard]] std::vector<Oid> list_argument_types(std::initializer_list<Oid> more);

/// Templates for `sql_text`. `m` is a membership of $1, `r` its room's row, `j` that of a joined room. Rooms
/// come in the order of their ids, which is that of both tables' indexes: neighbours lie together. `from` are
/// the memberships to look at, as `s`.
[[nodiscard]] std::string listed_rooms(const ListTables& tables, const ListFilters& filters,
                                       const std::string& from = all_memberships);

/// The memberships in these rooms ($2 for instance), each looked up by its key, as `s`. The planner would
/// rather go through all memberships of a user, for it thinks of an average one.
[[nodiscard]] std::string memberships_in(const std::string& rooms);

/// A condition on membership, sender and forgotten: rooms that are in the list of everything.
[[nodiscard]] std::string is_listed(const ListTables& tables, const std::string& of);
/// The filters, as " AND ...", that a room passes whatever happens in it. `s` is the membership's row.
[[nodiscard]] std::string lasting_filters(const ListTables& tables, const ListFilters& filters);
/// The same for a membership.
[[nodiscard]] std::string invite_filter(const ListFilters& filters, const std::string& of);

/// Whether walking through whole indexes is cheaper for this user than looking each room up.
[[nodiscard]] Joins joins_for(const ListTables& tables, const std::string& user_id);

/// What a list is sorted by. Orderings are unique: what comes after them decides nothing but the theoretical.
[[nodiscard]] std::string sort_columns(ListOrder order, const std::string& of);
/// The same as expressions of the joined rows, with the names that sort_columns() wants.
[[nodiscard]] std::string sort_keys(ListOrder order);
/// The position that a room is sorted by, of the joined rows.
[[nodiscard]] std::string position_of_room();

/// The columns of a result after `place` and `total`.
[[nodiscard]] std::string list_columns();

}  // namespace sliding_sync
