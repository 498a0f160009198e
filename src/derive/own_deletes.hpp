// Which derived rows the statement of ours that is running is to delete. What else disappears while it runs,
// the owner's triggers and rules have deleted.
#pragma once

#include <functional>
#include <string_view>

#include "guard/boundary.hpp"

namespace sliding_sync {

/// Whether a row of this user is one; a row of sliding_sync_joined_rooms has none. Must not throw.
using IsToBeDeleted = std::function<bool(std::string_view room_id, std::string_view user_id)>;

/// For the time of one statement. One inside another, from a trigger, hides the outer one.
class OwnDelete {
public:
    OwnDelete(Oid namespace_oid, bool are_rooms, IsToBeDeleted is_to_be_deleted);
    ~OwnDelete();
    OwnDelete(const OwnDelete&) = delete;
    OwnDelete& operator=(const OwnDelete&) = delete;

    [[nodiscard]] static bool deletes(Oid namespace_oid, bool are_rooms, std::string_view room_id,
                                      std::string_view user_id) noexcept;

private:
    Oid namespace_oid_;
    bool are_rooms_;
    IsToBeDeleted is_to_be_deleted_;
    OwnDelete* outer_;
};

/// Of keys, looked for from where the last one was found: rows go in about their order.
template <typename Key, typename IsSame>
IsToBeDeleted one_of(std::span<const Key> keys, IsSame is_same) {
    return
        [keys, is_same, next = std::size_t{0}](std::string_view room_id, std::string_view user_id) mutable {
            for (std::size_t i = 0; i < keys.size(); ++i) {
                const std::size_t at = (next + i) % keys.size();
                if (is_same(keys[at], room_id, user_id)) {
                    next = at + 1;
                    return true;
                }
            }
            return false;
        };
}

}  // namespace sliding_sync
