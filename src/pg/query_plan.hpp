// What all statements that run through the server programming interface have in common: how they are planned, and how
// their rows are read.
#pragma once

#include <tuple>

#include "pg/cell.hpp"
#include "pg/versions.hpp"

extern "C" {
#include "executor/spi.h"
#include "jit/jit.h"
#include "optimizer/cost.h"
}

namespace sliding_sync {

// Our statements look rows up by their keys, for a handful of keys or for thousands, and are planned once, perhaps
// while the tables are still empty: anything but nested loops over index scans would be right only by accident, and so
// would be one whose outer side is a table. They are planned as for big tables, then. Where the server must scan a
// small table all the same, the price it sees would make it compile the statement.
//
// Where a large part of a table is wanted, walking through its whole index is cheaper than as many look-ups: `merged`.
enum class Joins : std::uint8_t { nested, merged };

class KeyLookupPlanning {
public:
    explicit KeyLookupPlanning(Joins joins = Joins::nested) noexcept : outer_hook_(versions::relation_hook) {
        next_hook = outer_hook_;
        versions::relation_hook = pretend_to_be_big;
        for (std::size_t i = 0; i < settings.size(); ++i) {
            before_[i] = *settings[i];
            *settings[i] = false;
        }
        (joins == Joins::nested ? enable_nestloop : enable_mergejoin) = true;
    }
    ~KeyLookupPlanning() {
        for (std::size_t i = 0; i < settings.size(); ++i) {
            *settings[i] = before_[i];
        }
        versions::relation_hook = outer_hook_;
    }
    KeyLookupPlanning(const KeyLookupPlanning&) = delete;
    KeyLookupPlanning& operator=(const KeyLookupPlanning&) = delete;

private:
    static constexpr double big_tuples = 1e8;
    static constexpr BlockNumber big_pages = 1'000'000;

    static inline const std::array settings{&enable_seqscan,    &enable_material, &enable_hashjoin,
                                            &enable_hashagg,    &enable_nestloop, &enable_mergejoin,
                                            &enable_bitmapscan, &enable_memoize,  &jit_enabled};
    std::array<bool, settings.size()> before_{};

    // Runs inside the planner; C calls only.
    template <class... Arguments>
    static void pretend_to_be_big(Arguments... arguments) {
        if (next_hook != nullptr) {
            next_hook(arguments...);
        }
        auto* const info = std::get<RelOptInfo*>(std::tuple(arguments...));
        if (info->rtekind != RTE_RELATION) {
            return;
        }
        info->tuples = std::max(info->tuples, big_tuples);
        info->pages = std::max(info->pages, big_pages);
        ListCell* cell = nullptr;
        foreach (cell, info->indexlist) {
            auto* const index = static_cast<IndexOptInfo*>(lfirst(cell));
            index->tuples = std::max(index->tuples, big_tuples);
            index->pages = std::max(index->pages, big_pages);
        }
    }

    static inline versions::RelationHook next_hook = nullptr;
    versions::RelationHook outer_hook_;
};

/// True when the plan was never made, or is no longer valid. Reads no catalog.
[[nodiscard]] bool must_be_planned(SPIPlanPtr plan);

/// Raises what the interface returns instead of raising it. C calls only.
void check_result(int code, const char* sql);

/// What the last statement returned. C calls only.
[[nodiscard]] Rows read_rows();

}  // namespace sliding_sync
