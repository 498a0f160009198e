// Stops a backend from paying for an error in every transaction while the refreshes of a key keep failing.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>

#include "guard/postgres.hpp"

namespace sliding_sync {

/// One for each key (of one derived table) that has failed lately. It opens after eight failures in a row; a
/// success closes it, and another try is made after half a minute, or as soon as the catalog has changed.
class CircuitBreakers {
public:
    /// Whether any key has failed lately at all.
    [[nodiscard]] bool is_empty() const noexcept {
        return keys_.empty();
    }
    [[nodiscard]] bool is_open(std::string_view key) const;
    void quarantined(std::string_view key);
    void succeeded(std::string_view key);

private:
    struct Failures {
        int in_a_row = 0;
        std::int64_t retry_at = 0;
        std::uint64_t generation = 0;
    };
    std::unordered_map<std::string, Failures> keys_;
};

}  // namespace sliding_sync
