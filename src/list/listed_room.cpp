#include "list/listed_room.hpp"

extern "C" {
#include "fmgr.h"
}

namespace sliding_sync {

struct varlena* KeptTexts::keep(PgFrame, Datum text, bool is_null) {
    if (is_null) {
        return nullptr;
    }
    constexpr std::size_t block = 8000;
    const auto* const packed = PG_DETOAST_DATUM_PACKED(text);
    const std::size_t size = INTALIGN(VARSIZE_ANY(packed));
    if (left_ < size) {
        left_ = std::max(block, size);
        free_ = static_cast<char*>(palloc(left_));
        bytes_ += left_;
    }
    auto* const copy = reinterpret_cast<struct varlena*>(memcpy(free_, packed, VARSIZE_ANY(packed)));
    free_ += size;
    left_ -= size;
    return copy;
}

}  // namespace sliding_sync
