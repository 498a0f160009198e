#include "list/listed_rooms.hpp"

#include "list/list_columns.hpp"
#include "list/room_lookup.hpp"
#include "rules/lower_case.hpp"
#include "shared/sql_text.hpp"

#include <unordered_set>

extern "C" {
#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
}

namespace sliding_sync {

namespace {

Datum text_datum(PgFrame, std::string_view text) {
    return PointerGetDatum(cstring_to_text_with_len(text.data(), static_cast<int>(text.size())));
}

using Names = std::unordered_set<std::string_view>;

template <typename Texts>
Names names_of(const Texts& texts) {
    Names names;
    for (const auto& text : texts) {
        if constexpr (std::is_same_v<std::decay_t<decltype(text)>, std::string>) {
            names.insert(text);
        } else {
            names.insert(*text);
        }
    }
    return names;
}

Names tagged_rooms(const ListTables& tables, const std::string& user_id,
                   const std::optional<TextList>& tags) {
    Names rooms;
    if (!tables.has_room_tags) {
        return rooms;
    }
    const Rows rows = caller_query(sql_text(R"(
                SELECT t.room_id
                FROM %S.room_tags t
                WHERE t.user_id %= $1 AND t.tag %= ANY ($2))",
                                            tables.schema),
                                   {TEXTOID, TEXTARRAYOID})
                          ->run(Arguments().text(user_id).texts(not_null(tags)));
    for (std::size_t i = 0; i < rows.count; ++i) {
        rooms.insert(rows[i][0].text());
    }
    return rooms;
}

}  // namespace

ListedRooms::ListedRooms(const ListTables& tables)
    : memberships_(scanned_memberships(), tables.namespace_oid),
      versions_(scanned_rooms(), tables.namespace_oid),
      joined_rooms_(scanned_joined_rooms(), tables.namespace_oid) {}

bool ListedRooms::can_read() const noexcept {
    return memberships_.is_open() && versions_.is_open() && joined_rooms_.is_open();
}

bool ListedRooms::read(const ListTables& tables, const ListRequest& request, const ListSets& sets,
                       bool with_names) {
    const ListFilters& filters = request.filters;
    const Wanted wanted{filters.room_types || filters.not_room_types, with_names || filters.room_name_like};
    if (!call_pg([&](PgFrame frame) { return find_memberships(frame, request.user_id); })) {
        return false;
    }
    // each page of the table once, as a bitmap scan does it
    std::sort(found_, found_ + found_count_);
    if (!call_pg([&](PgFrame frame) { return read_memberships(frame, request, wanted); })) {
        return false;
    }
    if (tables.has_ignored_users && !drop_ignored(tables, request.user_id)) {
        return false;
    }
    drop_by_sets(tables, request, sets);
    for (ListedRoom& room : rooms()) {
        room.hash = std::hash<std::string_view>()(room.id());
    }
    room_places().reserve(count_);
    drop_unknown_versions(request);
    read_joined_rooms(wanted);
    drop_by_state(filters);
    return true;
}

bool ListedRooms::find_memberships(PgFrame frame, const std::string& user_id) {
    memberships_.look_for(frame, {text_datum(frame, user_id)});
    while (memberships_.next_entry(frame)) {
        make_room(frame, found_, found_count_);
        found_[found_count_++] = number_of(memberships_.place());
        if (found_count_ * sizeof *found_ > get_hash_memory_limit()) {
            return false;
        }
    }
    return true;
}

bool ListedRooms::read_memberships(PgFrame frame, const ListRequest& request, Wanted wanted) {
    for (std::size_t i = 0; i < found_count_; ++i) {
        if (memberships_.fetch(frame, place_of(found_[i])) && !add_membership(frame, request, wanted)) {
            return false;
        }
    }
    return true;
}

// Whoever is added is in the list of everything, as far as the membership tells; of ignored users later.
bool ListedRooms::add_membership(PgFrame frame, const ListRequest& request, Wanted wanted) {
    namespace column = membership_column;
    if (memberships_.number(frame, column::forgotten) != 0) {
        return true;
    }
    const std::string_view membership = memberships_.text(frame, column::membership);
    const std::string_view sender = memberships_.text(frame, column::sender);
    const std::optional<std::int64_t> position = memberships_.number(frame, column::position);
    const std::optional<bool> is_encrypted = memberships_.truth(frame, column::is_encrypted);
    if (membership.data() == nullptr || sender.data() == nullptr || !position || !is_encrypted) {
        return false;
    }
    const bool is_invite = membership == "invite";
    if ((membership == "leave" && sender == request.user_id) ||
        request.filters.is_invite.value_or(is_invite) != is_invite) {
        return true;
    }
    const auto text = [&](bool is_wanted, std::size_t number) -> struct varlena* {
        bool is_null = !is_wanted;
        const Datum value = is_wanted ? memberships_.value(frame, number, is_null) : Datum{0};
        return texts_.keep(frame, value, is_null);
    };
    make_room(frame, rooms_, count_);
    ListedRoom& added = rooms_[count_++];
    added = {};
    added.room_id = text(true, column::room_id);
    added.sender = text(is_invite, column::sender);
    added.name = text(wanted.names, column::room_name);
    added.type = text(wanted.types, column::room_type);
    added.position = *position;
    added.bump_stamp = std::max<std::int64_t>(0, *position);
    added.membership = memberships_.place();
    added.is_join = membership == "join";
    added.is_invite = is_invite;
    added.has_known_state = memberships_.truth(frame, column::has_known_state).value_or(false);
    added.is_encrypted = *is_encrypted;
    const std::size_t taken = texts_.bytes() + found_count_ * sizeof *found_ + count_ * sizeof *rooms_;
    return added.room_id != nullptr && taken <= get_hash_memory_limit();
}

template <typename Passes>
void ListedRooms::keep(Passes passes) {
    count_ = static_cast<std::size_t>(
        std::remove_if(rooms_, rooms_ + count_, [&](const ListedRoom& room) { return !passes(room); }) -
        rooms_);
}

bool ListedRooms::drop_ignored(const ListTables& tables, const std::string& user_id) {
    if (std::none_of(rooms_, rooms_ + count_, [](const ListedRoom& room) { return room.is_invite; })) {
        return true;
    }
    KeyScan ignored_users(scanned_ignored_users(), tables.namespace_oid);
    if (!ignored_users.is_open()) {
        return false;
    }
    struct List {
        std::string_view* users;
        std::size_t count;
    };
    const List list = call_pg([&](PgFrame frame) -> List {
        List so_far{nullptr, 0};
        ignored_users.look_for(frame, {text_datum(frame, user_id)});
        while (ignored_users.next(frame)) {
            bool is_null = false;
            const Datum user = ignored_users.value(frame, ignored_column::ignored_user_id, is_null);
            if (!is_null) {
                make_room(frame, so_far.users, so_far.count);
                so_far.users[so_far.count++] = ListedRoom::view(texts_.keep(frame, user, is_null));
            }
        }
        return so_far;
    });
    const Names ignored(list.users, list.users + list.count);
    keep([&](const ListedRoom& room) {
        return !room.is_invite || !ignored.contains(ListedRoom::view(room.sender));
    });
    return true;
}

void ListedRooms::drop_by_sets(const ListTables& tables, const ListRequest& request, const ListSets& sets) {
    const ListFilters& filters = request.filters;
    const auto keep_if = [&](const Names& rooms, bool is_in) {
        keep([&](const ListedRoom& room) { return rooms.contains(room.id()) == is_in; });
    };
    if (filters.is_dm) {
        keep_if(names_of(sets.direct_rooms), *filters.is_dm);
    }
    if (filters.tags) {
        keep_if(tagged_rooms(tables, request.user_id, filters.tags), true);
    }
    if (filters.not_tags) {
        keep_if(tagged_rooms(tables, request.user_id, filters.not_tags), false);
    }
    if (filters.spaces) {
        keep_if(names_of(sets.children_of_spaces), true);
    }
    if (filters.is_encrypted || filters.room_types || filters.not_room_types) {
        keep([](const ListedRoom& room) { return room.has_known_state; });
    }
}

void ListedRooms::drop_unknown_versions(const ListRequest& request) {
    const auto versions = known_versions(request);
    look_up_rooms(
        versions_, rooms(), &RoomPlaces::Places::room, [](const ListedRoom&) { return true; },
        [&](PgFrame frame, ListedRoom& room) {
            const std::string_view version = versions_.text(frame, version_column::room_version);
            room.is_of_known_version = version.data() != nullptr &&
                                       std::any_of(versions.begin(), versions.end(),
                                                   [&](const auto& known) { return *known == version; });
        });
    keep([](const ListedRoom& room) { return room.is_of_known_version; });
}

void ListedRooms::read_joined_rooms(Wanted wanted) {
    namespace column = joined_column;
    look_up_rooms(
        joined_rooms_, rooms(), &RoomPlaces::Places::joined_room,
        [](const ListedRoom& room) { return room.is_join; },
        [&](PgFrame frame, ListedRoom& room) {
            room.joined_room = joined_rooms_.place();
            room.position = joined_rooms_.number(frame, column::position).value_or(room.position);
            const std::int64_t bump = joined_rooms_.number(frame, column::bump_stamp).value_or(0);
            room.bump_stamp = bump > 0 ? bump : room.bump_stamp;
            room.is_encrypted = joined_rooms_.truth(frame, column::is_encrypted).value_or(room.is_encrypted);
            bool is_null = false;
            if (wanted.types) {
                const Datum type = joined_rooms_.value(frame, column::room_type, is_null);
                room.type = is_null ? room.type : texts_.keep(frame, type, is_null);
            }
            if (wanted.names) {
                const Datum name = joined_rooms_.value(frame, column::room_name, is_null);
                room.name = texts_.keep(frame, name, is_null);
            }
        });
}

void ListedRooms::drop_by_state(const ListFilters& filters) {
    if (filters.is_encrypted) {
        keep([&](const ListedRoom& room) { return room.is_encrypted == *filters.is_encrypted; });
    }
    const auto keep_types = [&](const std::optional<TextList>& types, bool is_in) {
        if (!types) {
            return;
        }
        const Names names = names_of(not_null(types));
        const bool has_none = has_null(types);
        keep([&](const ListedRoom& room) {
            return (room.type == nullptr ? has_none : names.contains(ListedRoom::view(room.type))) == is_in;
        });
    };
    keep_types(filters.room_types, true);
    keep_types(filters.not_room_types, false);
    if (filters.room_name_like) {
        const std::string part = rules::lower_case(*filters.room_name_like);
        keep([&](const ListedRoom& room) {
            return room.name != nullptr &&
                   rules::lower_case(ListedRoom::view(room.name)).find(part) != std::string::npos;
        });
    }
}

void ListedRooms::fill_row(PgFrame frame, const ListedRoom& room, Datum* values, bool* nulls) {
    namespace member = membership_column;
    namespace joined = joined_column;
    bool is_there = memberships_.fetch(frame, room.membership);
    const bool has_joined_room = ItemPointerIsValid(&room.joined_room);
    is_there = is_there && (!has_joined_room || joined_rooms_.fetch(frame, room.joined_room));
    if (!is_there) {
        raise_pg_error(ERRCODE_INTERNAL_ERROR, "sliding_sync: a row of a room list is gone while it is read");
    }
    const auto of_membership = [&](std::size_t at, std::size_t column) {
        values[at] = memberships_.value(frame, column, nulls[at]);
    };
    const auto of_room = [&](std::size_t at, std::size_t column, std::size_t joined_column) {
        values[at] = has_joined_room ? joined_rooms_.value(frame, joined_column, nulls[at])
                                     : memberships_.value(frame, column, nulls[at]);
    };
    const auto of_either = [&](std::size_t at, std::size_t column, std::size_t joined_column) {
        of_room(at, column, joined_column);
        if (nulls[at]) {
            of_membership(at, column);
        }
    };
    const auto number = [&](std::size_t at, std::int64_t value) {
        values[at] = Int64GetDatum(value);
        nulls[at] = false;
    };
    std::size_t at = 0;
    of_membership(at++, member::room_id);
    of_membership(at++, member::membership);
    of_membership(at++, member::sender);
    of_membership(at++, member::membership_event_id);
    of_room(at++, member::room_name, joined::room_name);
    of_either(at++, member::room_type, joined::room_type);
    of_either(at++, member::is_encrypted, joined::is_encrypted);
    of_membership(at++, member::has_known_state);
    of_room(at++, member::tombstone, joined::tombstone);
    number(at++, room.position);
    number(at, room.bump_stamp);
}

}  // namespace sliding_sync
