// Where the rows of rooms were found last: a row that is still there needs no walk through an index.
#pragma once

#include "guard/boundary.hpp"

extern "C" {
#include "storage/itemptr.h"
}

namespace sliding_sync {

/// For each room, by the hash of its id, a place in `rooms` and one in `sliding_sync_joined_rooms`; invalid where none is known. What
/// is found at a place is always compared: it may be another room's by now, or that of another homeserver.
class RoomPlaces {
public:
    struct Slot {
        std::uint64_t hash;
        ItemPointerData room;
        ItemPointerData joined_room;
    };

    /// Room for so many rooms, as far as the limit goes. Raises std::bad_alloc.
    void reserve(std::size_t rooms);

    /// The slot of this room, which another one may have used before. After reserve().
    [[nodiscard]] Slot& of(std::uint64_t hash) noexcept;

private:
    std::vector<Slot> slots_;  // a power of two; each room has one possible slot
};

}  // namespace sliding_sync
