#include "list/room_places.hpp"

#include <bit>

namespace sliding_sync {

namespace {

constexpr std::size_t least = 64;
constexpr std::size_t most = 1 << 15;  // two megabytes a backend

}  // namespace

void RoomPlaces::reserve(std::size_t rooms) {
    static_assert(sizeof(Bucket) == line);
    const std::size_t wanted = std::bit_ceil(std::clamp(rooms, least, most));
    if (wanted > buckets_.size()) {
        // what was known is found again: this happens a few times in a backend's life
        std::vector<Bucket>(wanted, Bucket{}).swap(buckets_);
    }
}

RoomPlaces::Places& RoomPlaces::of(std::uint64_t hash) noexcept {
    const auto tag = static_cast<std::uint32_t>(hash >> 32);
    auto& places = buckets_[bucket(hash)].places;
    for (Places& known : places) {
        if (known.tag == tag) {
            return known;
        }
    }
    Places* free = std::find_if(places.begin(), places.end(), [](const Places& known) {
        return !ItemPointerIsValid(&known.room) && !ItemPointerIsValid(&known.joined_room);
    });
    if (free == places.end()) {
        free = &places[tag % places.size()];
    }
    *free = {tag, {}, {}};
    return *free;
}

void RoomPlaces::prefetch(std::uint64_t hash) const noexcept {
    __builtin_prefetch(&buckets_[bucket(hash)]);
}

RoomPlaces& room_places() noexcept {
    static RoomPlaces places;
    return places;
}

}  // namespace sliding_sync
