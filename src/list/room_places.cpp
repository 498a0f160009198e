#include "list/room_places.hpp"

#include <bit>

namespace sliding_sync {

namespace {

constexpr std::size_t least = 256;
constexpr std::size_t most = 1 << 17;  // three megabytes a backend

}  // namespace

void RoomPlaces::reserve(std::size_t rooms) {
    // few of them share a slot
    const std::size_t wanted = std::bit_ceil(std::clamp(4 * rooms, least, most));
    if (wanted <= slots_.size()) {
        return;
    }
    std::vector<Slot> larger(wanted, Slot{});
    for (const Slot& slot : slots_) {
        larger[slot.hash & (wanted - 1)] = slot;
    }
    slots_.swap(larger);
}

RoomPlaces::Slot& RoomPlaces::of(std::uint64_t hash) noexcept {
    Slot& slot = slots_[hash & (slots_.size() - 1)];
    if (slot.hash != hash) {
        slot = {hash, {}, {}};
    }
    return slot;
}

}  // namespace sliding_sync
