// Where the rows of rooms were found last: a row that is still there needs no walk through an index.
#pragma once

#include "guard/boundary.hpp"

extern "C" {
#include "storage/itemptr.h"
}

namespace sliding_sync {

/// For each room, by the hash of its id, a place in `rooms` and one in `sliding_sync_joined_rooms`; invalid
/// where none is known. What is found at a place is always compared: it may be another room's by now, or that
/// of another homeserver.
class RoomPlaces {
public:
    struct Places {
        std::uint32_t tag;  ///< part of the hash
        ItemPointerData room;
        ItemPointerData joined_room;
    };

    /// Makes space for so many rooms, as far as the limit goes. Raises std::bad_alloc.
    void reserve(std::size_t rooms);

    // After reserve(). What of() returns is overwritten when another room needs the space.
    [[nodiscard]] Places& of(std::uint64_t hash) noexcept;
    void prefetch(std::uint64_t hash) const noexcept;

private:
    static constexpr std::size_t line = 64;
    struct alignas(line) Bucket {
        std::array<Places, line / sizeof(Places)> places;
    };
    [[nodiscard]] std::size_t bucket(std::uint64_t hash) const noexcept {
        return hash & (buckets_.size() - 1);
    }

    std::vector<Bucket> buckets_;  // a power of two
};

/// Those of this backend.
[[nodiscard]] RoomPlaces& room_places() noexcept;

}  // namespace sliding_sync
