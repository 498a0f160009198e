#include "derive/circuit_breaker.hpp"

#include "pg/catalog.hpp"

extern "C" {
#include "utils/timestamp.h"
}

namespace sliding_sync {

namespace {

constexpr int failures_to_open = 8;
constexpr std::int64_t retry_after_microseconds = 30'000'000;
constexpr std::size_t max_rooms = 1000;  // bounds the memory: with more, all begin anew

}  // namespace

bool CircuitBreakers::is_open(std::string_view room_id) const {
    const auto found = rooms_.find(std::string(room_id));
    return found != rooms_.end() && found->second.in_a_row >= failures_to_open &&
           found->second.generation == catalog_generation() && GetCurrentTimestamp() < found->second.retry_at;
}

void CircuitBreakers::quarantined(std::string_view room_id) {
    if (rooms_.size() >= max_rooms) {
        rooms_.clear();
    }
    Failures& failures = rooms_[std::string(room_id)];
    ++failures.in_a_row;
    failures.retry_at = GetCurrentTimestamp() + retry_after_microseconds;
    failures.generation = catalog_generation();
}

void CircuitBreakers::succeeded(std::string_view room_id) {
    rooms_.erase(std::string(room_id));
}

}  // namespace sliding_sync
