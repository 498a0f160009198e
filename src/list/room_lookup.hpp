// Looks the rows of many rooms up, in a table that has one for each.
#pragma once

#include "list/listed_room.hpp"
#include "list/room_places.hpp"
#include "pg/key_scan.hpp"

namespace sliding_sync {

template <typename Look>
void look_up_by_index(PgFrame frame, KeyScan& scan, ItemPointerData RoomPlaces::Places::*place,
                      std::span<ListedRoom*> missing, Look look) {
    // an entry of an index costs a fraction of a look-up
    constexpr double entries = 16;
    RoomPlaces& known = room_places();
    const auto found = [&](ListedRoom& room) {
        known.of(room.hash).*place = scan.place();
        look(frame, room);
    };
    if (!scan.is_in_order_of_bytes() || scan.estimated_rows() <= 0 ||
        scan.estimated_rows() > entries * static_cast<double>(missing.size())) {
        for (ListedRoom* const room : missing) {
            scan.look_for(frame, {PointerGetDatum(room->room_id)});
            if (scan.next(frame)) {
                found(*room);
            }
        }
        return;
    }
    scan.walk(frame);
    for (std::size_t i = 0; i < missing.size() && scan.next_entry(frame);) {
        const std::string_view entry = scan.entry_text(frame);
        while (i < missing.size() && missing[i]->id() < entry) {
            ++i;
        }
        if (i < missing.size() && missing[i]->id() == entry && scan.fetch(frame, scan.place())) {
            const ListedRoom& first = *missing[i];
            for (; i < missing.size() && missing[i]->id() == first.id(); ++i) {
                found(*missing[i]);
            }
        }
    }
}

/// Calls `look` with a PgFrame and each room whose row is found: where it was last, else through the index.
template <typename IsWanted, typename Look>
void look_up_rooms(KeyScan& scan, std::span<ListedRoom> rooms, ItemPointerData RoomPlaces::Places::*place,
                   IsWanted is_wanted, Look look) {
    struct Found {
        std::uint64_t place;
        ListedRoom* room;
    };
    constexpr std::size_t ahead = 8;
    RoomPlaces& known = room_places();
    std::vector<Found> found;
    std::vector<ListedRoom*> missing;
    found.reserve(rooms.size());
    missing.reserve(rooms.size());
    for (std::size_t i = 0; i < rooms.size(); ++i) {
        known.prefetch(rooms[std::min(i + ahead, rooms.size() - 1)].hash);
        if (is_wanted(rooms[i])) {
            const ItemPointerData last = known.of(rooms[i].hash).*place;
            ItemPointerIsValid(&last) ? found.push_back({number_of(last), &rooms[i]})
                                      : missing.push_back(&rooms[i]);
        }
    }
    // each page of the table once
    std::sort(found.begin(), found.end(), [](const Found& a, const Found& b) { return a.place < b.place; });
    std::size_t moved = 0;
    call_pg([&](PgFrame frame) {
        for (const Found& last : found) {
            if (scan.fetch(frame, place_of(last.place)) && scan.text(frame, 0) == last.room->id()) {
                look(frame, *last.room);
            } else {
                found[moved++].room = last.room;
            }
        }
    });
    for (std::size_t i = 0; i < moved; ++i) {
        missing.push_back(found[i].room);
    }
    // in the order of the index: neighbours share pages
    std::sort(missing.begin(), missing.end(),
              [](const ListedRoom* a, const ListedRoom* b) { return a->id() < b->id(); });
    call_pg([&](PgFrame frame) { look_up_by_index(frame, scan, place, missing, look); });
}

}  // namespace sliding_sync
