// Stops a backend from paying for an error in every transaction while the refreshes of a room keep failing.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

#include "guard/postgres.hpp"

namespace sliding_sync {

/// One for each room that has failed lately. It opens after eight failures in a row; a success closes it, and another try
/// is made after half a minute, or as soon as the catalog has changed.
class CircuitBreakers {
public:
    /// Whether any room has failed lately at all.
    [[nodiscard]] bool is_empty() const noexcept {
        return rooms_.empty();
    }
    [[nodiscard]] bool is_open(std::string_view room_id) const;
    void quarantined(std::string_view room_id);
    void succeeded(std::string_view room_id);

private:
    struct Failures {
        int in_a_row = 0;
        std::int64_t retry_at = 0;
        std::uint64_t generation = 0;
    };
    std::unordered_map<std::string, Failures> rooms_;
};

}  // namespace sliding_sync
