#include "list/listed_rooms.hpp"

#include "shared/sql_text.hpp"
#include "rules/lower_case.hpp"

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

namespace membership_column {
enum : std::size_t {
    room_id,
    sender,
    membership,
    forgotten,
    position,
    has_known_state,
    is_encrypted,
    room_type,
    room_name,
    membership_event_id,
    tombstone
};
}
namespace joined_column {
enum : std::size_t { room_id, position, bump_stamp, is_encrypted, room_type, room_name, tombstone };
}
namespace version_column {
enum : std::size_t { room_id, room_version };
}

ScannedTable& membership_snapshots() {
    static ScannedTable table("sliding_sync_membership_snapshots", {{"user_id", TEXTOID}},
                              {{"room_id", TEXTOID},
                               {"sender", TEXTOID},
                               {"membership", TEXTOID},
                               {"forgotten", INT4OID},
                               {"event_stream_ordering", INT8OID},
                               {"has_known_state", BOOLOID},
                               {"is_encrypted", BOOLOID},
                               {"room_type", TEXTOID},
                               {"room_name", TEXTOID},
                               {"membership_event_id", TEXTOID},
                               {"tombstone_successor_room_id", TEXTOID}},
                              false);
    return table;
}

ScannedTable& joined_rooms() {
    static ScannedTable table("sliding_sync_joined_rooms", {{"room_id", TEXTOID}},
                              {{"room_id", TEXTOID},
                               {"event_stream_ordering", INT8OID},
                               {"bump_stamp", INT8OID},
                               {"is_encrypted", BOOLOID},
                               {"room_type", TEXTOID},
                               {"room_name", TEXTOID},
                               {"tombstone_successor_room_id", TEXTOID}},
                              true);
    return table;
}

ScannedTable& room_versions() {
    static ScannedTable table("rooms", {{"room_id", TEXTOID}},
                              {{"room_id", TEXTOID}, {"room_version", TEXTOID}}, true);
    return table;
}

ScannedTable& ignored_users() {
    static ScannedTable table("ignored_users", {{"ignorer_user_id", TEXTOID}}, {{"ignored_user_id", TEXTOID}},
                              false);
    return table;
}

Datum text_datum(std::string_view text) {
    return PointerGetDatum(cstring_to_text_with_len(text.data(), static_cast<int>(text.size())));
}

// In memory that outlives the table's page. C calls only.
std::string_view kept(std::string_view text, std::size_t& bytes) {
    if (text.data() == nullptr) {
        return text;
    }
    bytes += text.size();
    auto* const copy = static_cast<char*>(palloc(std::max<std::size_t>(1, text.size())));
    std::copy(text.begin(), text.end(), copy);
    return {copy, text.size()};
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
    const Rows rows =
        caller_query(
            sql_text("SELECT t.room_id FROM %S.room_tags t WHERE t.user_id %= $1 AND t.tag %= ANY ($2)",
                     tables.schema),
            {TEXTOID, TEXTARRAYOID})
            ->run(Arguments().text(user_id).texts(not_null(tags)));
    for (std::size_t i = 0; i < rows.count; ++i) {
        rooms.insert(rows[i][0].text());
    }
    return rooms;
}

RoomPlaces& places() {
    static RoomPlaces known;
    return known;
}

}  // namespace

ListedRooms::ListedRooms(const ListTables& tables)
    : memberships_(membership_snapshots(), tables.namespace_oid),
      versions_(room_versions(), tables.namespace_oid), joined_rooms_(joined_rooms(), tables.namespace_oid) {
    if (tables.has_ignored_users) {
        ignored_.emplace(ignored_users(), tables.namespace_oid);
    }
}

bool ListedRooms::can_read() const noexcept {
    return memberships_.is_open() && versions_.is_open() && joined_rooms_.is_open() &&
           (!ignored_ || ignored_->is_open());
}

bool ListedRooms::read(const ListTables& tables, const ListRequest& request, const ListSets& sets,
                       bool with_names) {
    const ListFilters& filters = request.filters;
    const Wanted wanted{ignored_.has_value(), filters.room_types || filters.not_room_types,
                        with_names || filters.room_name_like};
    if (!call_pg([&] { return read_memberships(request, wanted); })) {
        return false;
    }
    if (ignored_) {
        drop_ignored(request.user_id);
    }
    drop_by_sets(tables, request, sets);
    for (ListedRoom& room : rooms()) {
        room.hash = std::hash<std::string_view>()(room.id());
    }
    places().reserve(count_);
    drop_unknown_versions(request);
    read_joined_rooms(wanted);
    drop_by_state(filters);
    return true;
}

// C calls only.
bool ListedRooms::read_memberships(const ListRequest& request, Wanted wanted) {
    std::size_t room = 0;
    std::size_t bytes = 0;
    memberships_.look_for({text_datum(request.user_id)});
    while (memberships_.next()) {
        if (!add_membership(request, wanted, room, bytes)) {
            return false;
        }
    }
    return true;
}

// Whoever is asked for here is in the list of everything as far as the membership tells; of ignored users later.
bool ListedRooms::add_membership(const ListRequest& request, Wanted wanted, std::size_t& room,
                                 std::size_t& bytes) {
    namespace column = membership_column;
    if (memberships_.number(column::forgotten) != 0) {
        return true;
    }
    const std::string_view membership = memberships_.text(column::membership);
    const std::string_view sender = memberships_.text(column::sender);
    const std::optional<std::int64_t> position = memberships_.number(column::position);
    bool is_null = false;
    const Datum room_id = memberships_.value(column::room_id, is_null);
    if (membership.data() == nullptr || sender.data() == nullptr || !position || is_null) {
        return false;
    }
    const bool is_invite = membership == "invite";
    if ((membership == "leave" && sender == request.user_id) ||
        request.filters.is_invite.value_or(is_invite) != is_invite) {
        return true;
    }
    if (count_ == room) {
        constexpr std::size_t first = 64;
        room = std::max(first, 2 * room);
        rooms_ =
            static_cast<ListedRoom*>(rooms_ == nullptr ? palloc(room * sizeof(ListedRoom))
                                                       : repalloc_huge(rooms_, room * sizeof(ListedRoom)));
    }
    ListedRoom& added = rooms_[count_++];
    added = {};
    added.room_id = PG_DETOAST_DATUM_PACKED(datumCopy(room_id, false, -1));
    added.sender = is_invite && wanted.senders ? kept(sender, bytes) : std::string_view{};
    added.name = wanted.names ? kept(memberships_.text(column::room_name), bytes) : std::string_view{};
    added.type = wanted.types ? kept(memberships_.text(column::room_type), bytes) : std::string_view{};
    added.position = *position;
    added.bump_stamp = std::max<std::int64_t>(0, *position);
    added.membership = memberships_.place();
    added.is_join = membership == "join";
    added.is_invite = is_invite;
    added.has_known_state = memberships_.truth(column::has_known_state).value_or(false);
    added.is_encrypted = memberships_.truth(column::is_encrypted);
    bytes += VARSIZE_ANY(added.room_id);
    return bytes + room * sizeof(ListedRoom) <= get_hash_memory_limit();
}

template <typename Passes>
void ListedRooms::keep(Passes passes) {
    count_ = static_cast<std::size_t>(
        std::remove_if(rooms_, rooms_ + count_, [&](const ListedRoom& room) { return !passes(room); }) -
        rooms_);
}

void ListedRooms::drop_ignored(const std::string& user_id) {
    if (std::none_of(rooms_, rooms_ + count_, [](const ListedRoom& room) { return room.is_invite; })) {
        return;
    }
    struct List {
        std::string_view* users;
        std::size_t count;
    };
    const List list = call_pg([&]() -> List {
        List so_far{nullptr, 0};
        std::size_t room = 0;
        std::size_t bytes = 0;
        ignored_->look_for({text_datum(user_id)});
        while (ignored_->next()) {
            if (so_far.count == room) {
                constexpr std::size_t first = 16;
                room = std::max(first, 2 * room);
                const std::size_t size = room * sizeof(std::string_view);
                so_far.users = static_cast<std::string_view*>(
                    so_far.users == nullptr ? palloc(size) : repalloc_huge(so_far.users, size));
            }
            so_far.users[so_far.count++] = kept(ignored_->text(0), bytes);
        }
        return so_far;
    });
    const Names ignored(list.users, list.users + list.count);
    keep([&](const ListedRoom& room) { return !room.is_invite || !ignored.contains(room.sender); });
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

// Calls `look`, which may make C calls only, with each room whose row is found: where it was last, else through the index.
template <typename IsWanted, typename Look>
void ListedRooms::look_up(KeyScan& scan, ItemPointerData RoomPlaces::Slot::*place, IsWanted is_wanted,
                          Look look) {
    RoomPlaces& known = places();
    std::vector<ListedRoom*> missing(count_);
    std::size_t missing_count = 0;
    call_pg([&] {
        for (std::size_t i = 0; i < count_; ++i) {
            ListedRoom& room = rooms_[i];
            if (!is_wanted(room)) {
                continue;
            }
            const ItemPointerData last = known.of(room.hash).*place;
            if (ItemPointerIsValid(&last) && scan.fetch(last) && scan.text(0) == room.id()) {
                look(room);
            } else {
                missing[missing_count++] = &room;
            }
        }
    });
    // in the order of the index: neighbours share pages
    std::sort(missing.begin(), missing.begin() + static_cast<std::ptrdiff_t>(missing_count),
              [](const ListedRoom* a, const ListedRoom* b) { return a->id() < b->id(); });
    call_pg([&] {
        for (std::size_t i = 0; i < missing_count; ++i) {
            ListedRoom& room = *missing[i];
            scan.look_for({PointerGetDatum(room.room_id)});
            if (scan.next()) {
                known.of(room.hash).*place = scan.place();
                look(room);
            }
        }
    });
}

void ListedRooms::drop_unknown_versions(const ListRequest& request) {
    const auto versions = known_versions(request);
    look_up(
        versions_, &RoomPlaces::Slot::room, [](const ListedRoom&) { return true; },
        [&](ListedRoom& room) {
            const std::string_view version = versions_.text(version_column::room_version);
            room.is_of_known_version = version.data() != nullptr &&
                                       std::any_of(versions.begin(), versions.end(),
                                                   [&](const auto& known) { return *known == version; });
        });
    keep([](const ListedRoom& room) { return room.is_of_known_version; });
}

void ListedRooms::read_joined_rooms(Wanted wanted) {
    namespace column = joined_column;
    std::size_t bytes = 0;
    look_up(
        joined_rooms_, &RoomPlaces::Slot::joined_room, [](const ListedRoom& room) { return room.is_join; },
        [&](ListedRoom& room) {
            room.joined_room = joined_rooms_.place();
            room.position = joined_rooms_.number(column::position).value_or(room.position);
            const std::int64_t bump = joined_rooms_.number(column::bump_stamp).value_or(0);
            room.bump_stamp = bump > 0 ? bump : room.bump_stamp;
            const std::optional<bool> is_encrypted = joined_rooms_.truth(column::is_encrypted);
            room.is_encrypted = is_encrypted ? is_encrypted : room.is_encrypted;
            if (wanted.types) {
                const std::string_view type = joined_rooms_.text(column::room_type);
                room.type = type.data() != nullptr ? kept(type, bytes) : room.type;
            }
            if (wanted.names) {
                room.name = kept(joined_rooms_.text(column::room_name), bytes);
            }
        });
}

void ListedRooms::drop_by_state(const ListFilters& filters) {
    if (filters.is_encrypted) {
        keep([&](const ListedRoom& room) { return room.is_encrypted == filters.is_encrypted; });
    }
    const auto keep_types = [&](const std::optional<TextList>& types, bool is_in) {
        if (!types) {
            return;
        }
        const Names names = names_of(not_null(types));
        const bool has_none = has_null(types);
        keep([&](const ListedRoom& room) {
            return (room.type.data() == nullptr ? has_none : names.contains(room.type)) == is_in;
        });
    };
    keep_types(filters.room_types, true);
    keep_types(filters.not_room_types, false);
    if (filters.room_name_like) {
        const std::string part = rules::lower_case(*filters.room_name_like);
        keep([&](const ListedRoom& room) {
            return room.name.data() != nullptr &&
                   rules::lower_case(room.name).find(part) != std::string::npos;
        });
    }
}

void ListedRooms::fill_row(const ListedRoom& room, Datum* values, bool* nulls) {
    namespace member = membership_column;
    namespace joined = joined_column;
    bool is_there = memberships_.fetch(room.membership);
    const bool has_joined_room = ItemPointerIsValid(&room.joined_room);
    is_there = is_there && (!has_joined_room || joined_rooms_.fetch(room.joined_room));
    if (!is_there) {
        raise_pg_error(ERRCODE_INTERNAL_ERROR, "sliding_sync: a row of a room list is gone while it is read");
    }
    const auto of_membership = [&](std::size_t at, std::size_t column) {
        values[at] = memberships_.value(column, nulls[at]);
    };
    const auto of_room = [&](std::size_t at, std::size_t column, std::size_t joined_column) {
        values[at] = has_joined_room ? joined_rooms_.value(joined_column, nulls[at])
                                     : memberships_.value(column, nulls[at]);
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
