// The rows that a set-returning function gives back.
#pragma once

#include "guard/boundary.hpp"

extern "C" {
#include "funcapi.h"
}

namespace sliding_sync {

/// Collects rows in the server's store, which spills to disk: memory does not grow with their number.
class ResultRows {
public:
    /// The function must be called where a set of rows is allowed (0A000).
    explicit ResultRows(FunctionCallInfo call);

    /// Values as text, in the order of the columns; nothing is NULL. Each is read as its column's type.
    void add(std::span<const std::optional<std::string>> values);

private:
    ReturnSetInfo* result_;
    AttInMetadata* columns_;
    MemoryContext scratch_;
};

}  // namespace sliding_sync
