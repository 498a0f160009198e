// A room of a list while it is decided upon, and the memory that it needs.
#pragma once

#include "guard/boundary.hpp"

extern "C" {
#include "storage/itemptr.h"
#include "utils/memutils.h"
}

namespace sliding_sync {

/// What is read of a room until it is known whether it is in the list, and where. Texts live as long as the
/// CallerConnection; one that is nullptr is NULL, or not asked for.
struct ListedRoom {
    struct varlena* room_id;
    struct varlena* sender;
    struct varlena* name;
    struct varlena* type;
    std::uint64_t hash;
    std::int64_t position;
    std::int64_t bump_stamp;
    ItemPointerData membership;   ///< where the rows are
    ItemPointerData joined_room;  ///< invalid where there is none
    bool is_join;
    bool is_invite;
    bool has_known_state;
    bool is_encrypted;
    bool is_of_known_version;

    [[nodiscard]] static std::string_view view(const struct varlena* text) noexcept {
        return {VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text)};
    }
    [[nodiscard]] std::string_view id() const noexcept {
        return view(room_id);
    }
};

/// Copies of texts, close together.
class KeptTexts {
public:
    /// The text in the current memory context; nullptr where it is NULL.
    [[nodiscard]] struct varlena* keep(PgFrame frame, Datum text, bool is_null);
    [[nodiscard]] std::size_t bytes() const noexcept {
        return bytes_;
    }

private:
    char* free_ = nullptr;
    std::size_t left_ = 0;
    std::size_t bytes_ = 0;
};

/// A place as a number; numbers sort in the order of the table.
inline std::uint64_t number_of(const ItemPointerData& place) noexcept {
    return static_cast<std::uint64_t>(ItemPointerGetBlockNumberNoCheck(&place)) << 16 |
           ItemPointerGetOffsetNumberNoCheck(&place);
}

inline ItemPointerData place_of(std::uint64_t number) noexcept {
    ItemPointerData place;
    ItemPointerSet(&place, static_cast<BlockNumber>(number >> 16),
                   static_cast<OffsetNumber>(number & 0xFFFF));
    return place;
}

/// Makes an array one element longer, if it must be.
template <typename Element>
void make_room(PgFrame, Element*& elements, std::size_t count) {
    constexpr std::size_t first = 64;
    if (count == 0) {
        elements = static_cast<Element*>(palloc(first * sizeof(Element)));
    } else if (count >= first && (count & (count - 1)) == 0) {
        elements = static_cast<Element*>(repalloc_huge(elements, 2 * count * sizeof(Element)));
    }
}

}  // namespace sliding_sync
