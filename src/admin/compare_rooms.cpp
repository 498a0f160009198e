#include "admin/compare_rooms.hpp"

#include "derive/compare.hpp"
#include "derive/homeserver.hpp"
#include "server/write_as.hpp"

namespace sliding_sync {

namespace {

using Text = std::optional<std::string>;
using Row = std::optional<rules::JoinedRoom>;

struct Column {
    const char* name;
    Text (*value)(const rules::JoinedRoom& row);
};

constexpr std::array<Column, 7> columns{{
    {"room_id", [](const rules::JoinedRoom& row) { return Text(row.room_id); }},
    {"event_stream_ordering",
     [](const rules::JoinedRoom& row) { return Text(std::to_string(row.event_stream_ordering)); }},
    {"bump_stamp",
     [](const rules::JoinedRoom& row) {
         return row.bump_stamp ? Text(std::to_string(*row.bump_stamp)) : Text();
     }},
    {"room_type", [](const rules::JoinedRoom& row) { return row.state.room_type; }},
    {"room_name", [](const rules::JoinedRoom& row) { return row.state.room_name; }},
    {"is_encrypted",
     [](const rules::JoinedRoom& row) { return Text(row.state.is_encrypted ? "true" : "false"); }},
    {"tombstone_successor_room_id",
     [](const rules::JoinedRoom& row) { return row.state.tombstone_successor_room_id; }},
}};

void report_room(const RoomComparison& room, const std::function<void(const ComparedColumn&)>& report) {
    for (const Column& column : columns) {
        const auto text = [&](const Row& row) { return row ? column.value(*row) : Text(); };
        report({room.room_id, column.name, text(room.wanted), text(room.stored), room.wanted.has_value(),
                room.stored.has_value()});
    }
}

}  // namespace

void compare_rooms(const AttachedHomeserver& attached, std::span<const std::string> room_ids,
                   const std::function<void(const ComparedColumn&)>& report) {
    constexpr std::size_t rooms_per_slice = 500;
    const std::shared_ptr<Homeserver> homeserver = homeserver_in(attached.namespace_oid);
    std::vector<std::string_view> keys(room_ids.begin(), room_ids.end());
    std::sort(keys.begin(), keys.end());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    for (std::size_t begin = 0; begin < keys.size(); begin += rooms_per_slice) {
        const auto slice = std::span(keys).subspan(begin, std::min(rooms_per_slice, keys.size() - begin));
        std::vector<RoomChange> rooms;
        for (const std::string_view room_id : slice) {
            rooms.push_back(whole_room(room_id));
        }
        std::vector<RoomComparison> compared;
        {
            const WriteAs reader(homeserver->schema.derived_owner);
            const OneMoment moment;
            const SpiConnection connection;
            compared =
                compare_joined_rooms(homeserver->street, rooms, homeserver->street.rooms.stored(slice));
        }
        for (const RoomComparison& room : compared) {
            report_room(room, report);
        }
        call_pg([] { CHECK_FOR_INTERRUPTS(); });
    }
}

}  // namespace sliding_sync
