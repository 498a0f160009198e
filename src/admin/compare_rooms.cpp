#include "admin/compare_rooms.hpp"

#include "derive/compare.hpp"
#include "derive/homeserver.hpp"
#include "derive/write_as.hpp"
#include "shared/value_text.hpp"

namespace sliding_sync {

namespace {

void report_room(const RoomComparison& room, const std::function<void(const ComparedColumn&)>& report) {
    for_each_column<JoinedRooms>([&](const auto& column, const SqlType&) {
        const auto value = [&](const std::optional<rules::JoinedRoom>& row) {
            return row ? text(column.field(*row)) : Text();
        };
        report({room.key, column.name, value(room.expected), value(room.stored), room.expected.has_value(),
                room.stored.has_value()});
    });
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
            const FixedSnapshot moment;
            const SpiConnection connection;
            compared = compare_joined_rooms(homeserver->statements, rooms,
                                            homeserver->statements.joined_rooms.stored(slice));
        }
        for (const RoomComparison& room : compared) {
            report_room(room, report);
        }
        call_pg([] { CHECK_FOR_INTERRUPTS(); });
    }
}

}  // namespace sliding_sync
