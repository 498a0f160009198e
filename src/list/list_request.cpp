#include "list/list_request.hpp"

#include "list/space_children.hpp"
#include "pg/catalog.hpp"
#include "rules/list_filters.hpp"
#include "rules/lower_case.hpp"
#include "rules/room_versions.hpp"
#include "shared/sql_text.hpp"

extern "C" {
#include "utils/lsyscache.h"
}

namespace sliding_sync {

namespace {

using Texts = std::vector<std::optional<std::string_view>>;

Texts views(const std::vector<std::string>& strings) {
    return {strings.begin(), strings.end()};
}

std::vector<std::string> direct_rooms_of(const ListTables& tables, const std::string& user_id) {
    if (!tables.has_account_data) {
        return {};
    }
    const Rows rows = caller_query(sql_text(R"(
                SELECT a.content
                FROM %S.account_data a
                WHERE a.user_id %= $1 AND a.account_data_type %= 'm.direct'
                LIMIT 1)",
                                            tables.schema),
                                   {TEXTOID})
                          ->run(Arguments().text(user_id));
    return rows.count == 0 || rows[0][0].is_null ? std::vector<std::string>{}
                                                 : rules::direct_rooms(rows[0][0].text());
}

/// Membership in a set that is computed once: an array would be searched element by element for each room.
std::string is_in(const std::string& value, const std::string& array) {
    return "(" + value + " %= ANY (SELECT pg_catalog.unnest(" + array + "))) IS TRUE";
}

std::string has_tag(const ListTables& tables, const std::string& tags) {
    if (!tables.has_room_tags) {
        return "false";
    }
    return is_in("s.room_id",
                 "ARRAY(SELECT t.room_id FROM %S.room_tags t WHERE t.user_id %= $1 AND t.tag %= ANY (" +
                     tags + "))");
}

constexpr const char* bump_stamp =
    "GREATEST(0::bigint, CASE WHEN j.bump_stamp %> 0 THEN j.bump_stamp ELSE m.event_stream_ordering END)";
constexpr const char* room_name = "CASE WHEN j.room_id IS NULL THEN m.room_name ELSE j.room_name END";
constexpr const char* ordering = "COALESCE(j.event_stream_ordering, m.event_stream_ordering)";
constexpr const char* room_type = "COALESCE(j.room_type, m.room_type)";

std::string room_filters(const ListFilters& filters) {
    std::string conditions;
    const auto add = [&](bool is_asked, const std::string& condition) {
        conditions += is_asked ? (conditions.empty() ? " WHERE " : " AND ") + condition : "";
    };
    const auto is_of_type = [](const char* types, const char* no_type) {
        return std::string("CASE WHEN ") + room_type + " IS NULL THEN " + no_type + " ELSE " + room_type +
               " %= ANY (" + types + ") END";
    };
    add(filters.is_encrypted.has_value(), "COALESCE(j.is_encrypted, m.is_encrypted) %= $5");
    add(filters.room_types.has_value(), is_of_type("$7", "$8"));
    add(filters.not_room_types.has_value(), "NOT " + is_of_type("$9", "$10"));
    add(filters.room_name_like.has_value(),
        std::string("pg_catalog.strpos(sliding_sync.lower_case(") + room_name + "), $14) %> 0");
    return conditions;
}

bool is_in_most_rooms(const ListTables& tables, const std::string& user_id) {
    // An entry of an index costs less than half of a look-up.
    constexpr double share = 0.4;
    constexpr double small = 10;
    const double rooms =
        call_pg([&] { return estimated_rows(get_relname_relid("rooms", tables.namespace_oid)); });
    if (rooms * share < small) {
        return false;
    }
    const auto enough = static_cast<std::int64_t>(rooms * share);
    const Rows count = caller_query(sql_text(R"(
                SELECT pg_catalog.count(*)
                FROM (SELECT FROM %S.sliding_sync_membership_snapshots s WHERE s.user_id %= $1 LIMIT $2) x)",
                                             tables.schema),
                                    {TEXTOID, INT8OID})
                           ->run(Arguments().text(user_id).number(enough));
    return count[0][0].number >= enough;
}

}  // namespace

Texts not_null(const std::optional<TextList>& list) {
    Texts texts;
    if (list) {
        for (const auto& text : *list) {
            if (text) {
                texts.emplace_back(std::string_view(*text));
            }
        }
    }
    return texts;
}

bool has_null(const std::optional<TextList>& list) {
    return list && std::any_of(list->begin(), list->end(), [](const auto& text) { return !text; });
}

Texts known_versions(const ListRequest& request) {
    return request.known_versions
               ? not_null(request.known_versions)
               : Texts(rules::known_room_versions.begin(), rules::known_room_versions.end());
}

ListSets read_list_sets(const ListTables& tables, const ListRequest& request) {
    const ListFilters& filters = request.filters;
    std::vector<const char*> names{"sliding_sync_membership_snapshots", "sliding_sync_joined_rooms", "rooms"};
    if (tables.has_ignored_users) {
        names.push_back("ignored_users");
    }
    if (filters.is_dm && tables.has_account_data) {
        names.push_back("account_data");
    }
    if ((filters.tags || filters.not_tags) && tables.has_room_tags) {
        names.push_back("room_tags");
    }
    require_select(tables, names);
    ListSets sets;
    if (filters.is_dm) {
        sets.direct_rooms = direct_rooms_of(tables, request.user_id);
    }
    if (filters.spaces) {
        sets.children_of_spaces = space_children(tables, request.user_id, not_null(filters.spaces));
    }
    return sets;
}

Arguments list_arguments(const ListRequest& request, const ListSets& sets) {
    const ListFilters& filters = request.filters;
    Arguments arguments;
    arguments.text(request.user_id).texts(known_versions(request)).texts(views(sets.direct_rooms));
    arguments.boolean(filters.is_dm.value_or(false)).boolean(filters.is_encrypted.value_or(false));
    arguments.boolean(filters.is_invite.value_or(false));
    arguments.texts(not_null(filters.room_types)).boolean(has_null(filters.room_types));
    arguments.texts(not_null(filters.not_room_types)).boolean(has_null(filters.not_room_types));
    arguments.texts(not_null(filters.tags)).texts(not_null(filters.not_tags));
    arguments.texts(views(sets.children_of_spaces));
    arguments.text(rules::lower_case(filters.room_name_like.value_or("")));
    return arguments;
}

std::vector<Oid> list_argument_types(std::initializer_list<Oid> more) {
    std::vector<Oid> types{TEXTOID,      TEXTARRAYOID, TEXTARRAYOID, BOOLOID,      BOOLOID,
                           BOOLOID,      TEXTARRAYOID, BOOLOID,      TEXTARRAYOID, BOOLOID,
                           TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTOID};
    types.insert(types.end(), more);
    return types;
}

std::string memberships_in(const std::string& rooms) {
    return "pg_catalog.unnest(" + rooms + R"() WITH ORDINALITY k (room_id, n)
            CROSS JOIN LATERAL (
                SELECT x.*
                FROM %S.sliding_sync_membership_snapshots x
                WHERE x.room_id %= k.room_id AND x.user_id %= $1 OFFSET 0) s)";
}

std::string is_listed(const ListTables& tables, const std::string& of) {
    std::string condition =
        of + ".forgotten %= 0 AND (" + of + ".membership %<> 'leave' OR " + of + ".sender %<> $1)";
    if (tables.has_ignored_users) {
        const std::string ignored_users = R"(ARRAY(
                SELECT i.ignored_user_id FROM %S.ignored_users i WHERE i.ignorer_user_id %= $1))";
        condition +=
            " AND (" + of + ".membership %<> 'invite' OR NOT " + is_in(of + ".sender", ignored_users) + ")";
    }
    return condition;
}

std::string lasting_filters(const ListTables& tables, const ListFilters& filters) {
    std::string conditions;
    const auto add = [&](bool is_asked, const std::string& condition) {
        conditions += is_asked ? " AND " + condition : "";
    };
    add(filters.is_dm.has_value(), "(" + is_in("s.room_id", "$3") + ") %= $4");
    add(filters.tags.has_value(), has_tag(tables, "$11"));
    add(filters.not_tags.has_value(), "NOT (" + has_tag(tables, "$12") + ")");
    add(filters.spaces.has_value(), is_in("s.room_id", "$13"));
    return conditions;
}

std::string invite_filter(const ListFilters& filters, const std::string& of) {
    return filters.is_invite ? " AND (" + of + ".membership %= 'invite') %= $6" : "";
}

std::string listed_rooms(const ListTables& tables, const ListFilters& filters, const std::string& from) {
    const bool needs_state = filters.is_encrypted || filters.room_types || filters.not_room_types;
    return R"((
            SELECT s.*
            FROM )" +
           from + R"(
            WHERE s.user_id %= $1 AND )" +
           is_listed(tables, "s") + invite_filter(filters, "s") + lasting_filters(tables, filters) +
           (needs_state ? " AND s.has_known_state" : "") + R"(
            ORDER BY s.room_id OFFSET 0) m
        JOIN %S.rooms r ON r.room_id %= m.room_id AND r.room_version %= ANY ($2)
        LEFT JOIN %S.sliding_sync_joined_rooms j ON j.room_id %= m.room_id AND m.membership %= 'join')" +
           room_filters(filters);
}

Joins joins_for(const ListTables& tables, const std::string& user_id) {
    // Which plan is cheaper changes slowly: what was found holds for some calls.
    struct Choice {
        Joins joins;
        int calls_left;
    };
    constexpr int calls = 50;
    constexpr std::size_t most_users = 1000;
    static std::unordered_map<std::string, Choice> choices;
    const std::string key = tables.schema + '\n' + user_id;
    if (const auto known = choices.find(key); known != choices.end() && known->second.calls_left-- > 0) {
        return known->second.joins;
    }
    if (choices.size() >= most_users) {
        choices.clear();
    }
    const Joins joins = is_in_most_rooms(tables, user_id) ? Joins::merged : Joins::nested;
    choices.insert_or_assign(key, Choice{joins, calls});
    return joins;
}

std::string sort_keys(ListOrder order) {
    std::string keys = std::string(ordering) + " AS position";
    if (order == ListOrder::bump) {
        keys += std::string(", ") + bump_stamp + " AS bump";
    }
    if (order == ListOrder::name) {
        keys += std::string(", sliding_sync.lower_case(") + room_name + ") COLLATE pg_catalog.\"C\" AS name";
    }
    return keys;
}

std::string position_of_room() {
    return ordering;
}

std::string sort_columns(ListOrder order, const std::string& of) {
    const std::string first = order == ListOrder::bump   ? of + ".bump DESC, "
                              : order == ListOrder::name ? of + ".name NULLS LAST, "
                                                         : "";
    return first + of + ".position DESC, " + of + ".room_id COLLATE pg_catalog.\"C\"";
}

std::string list_columns() {
    return std::string("m.room_id, m.membership, m.sender, m.membership_event_id, ") + room_name +
           " AS room_name, " + room_type + R"( AS room_type,
            COALESCE(j.is_encrypted, m.is_encrypted) AS is_encrypted, m.has_known_state,
            CASE WHEN j.room_id IS NULL THEN m.tombstone_successor_room_id
                ELSE j.tombstone_successor_room_id END AS tombstone_successor_room_id, )" +
           ordering + " AS event_stream_ordering, " + bump_stamp + " AS bump_stamp";
}

}  // namespace sliding_sync
