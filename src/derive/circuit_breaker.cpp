#include "derive/circuit_breaker.hpp"

#include "pg/catalog.hpp"

extern "C" {
#include "utils/timestamp.h"
}

namespace sliding_sync {

namespace {

constexpr int failures_to_open = 8;
constexpr std::int64_t retry_after_microseconds = 30'000'000;
constexpr std::size_t max_keys = 1000;  // bounds the memory: with more, all begin anew

}  // namespace

bool CircuitBreakers::is_open(std::string_view key) const {
    const auto found = keys_.find(std::string(key));
    return found != keys_.end() && found->second.in_a_row >= failures_to_open &&
           found->second.generation == relation_generation() &&
           GetCurrentTimestamp() < found->second.retry_at;
}

void CircuitBreakers::quarantined(std::string_view key) {
    if (keys_.size() >= max_keys) {
        keys_.clear();
    }
    Failures& failures = keys_[std::string(key)];
    ++failures.in_a_row;
    failures.retry_at = GetCurrentTimestamp() + retry_after_microseconds;
    failures.generation = relation_generation();
}

void CircuitBreakers::succeeded(std::string_view key) {
    keys_.erase(std::string(key));
}

}  // namespace sliding_sync
