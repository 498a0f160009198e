// Reading the noted keys from C++.
#pragma once

#include "live/changed_keys.hpp"

namespace sliding_sync {

inline std::string_view view(const TextKey& key) noexcept {
    return {key.data, key.size};
}

/// Visits every entry of one of the tables of NotedKeys, which may be null. `visit` may throw and may note more.
template <typename Entry, typename Visit>
void for_each(HTAB* table, Visit visit) {
    if (table == nullptr) {
        return;
    }
    // A scan that an exception leaves would stay registered with the server: take the entries out first.
    std::vector<Entry*> entries(static_cast<std::size_t>(hash_get_num_entries(table)));
    call_pg([&] {
        HASH_SEQ_STATUS scan;
        hash_seq_init(&scan, table);
        std::size_t i = 0;
        while (auto* const entry = static_cast<Entry*>(hash_seq_search(&scan))) {
            entries[i++] = entry;
        }
    });
    for (Entry* const entry : entries) {
        visit(*entry);
    }
}

}  // namespace sliding_sync
