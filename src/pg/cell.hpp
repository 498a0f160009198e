// Values and rows as they come out of the server.
#pragma once

#include "guard/boundary.hpp"

namespace sliding_sync {

/// One value of a row. Text points into memory of the server that lives as long as the open SpiConnection.
struct Cell {
    const char* data;
    std::size_t size;
    std::int64_t number;  ///< int8, int4, bool (0, 1), xid, oid, tid (block << 16 | item)
    bool is_null;

    [[nodiscard]] std::string_view text() const noexcept {
        return {data, size};
    }
    [[nodiscard]] std::optional<std::string> optional_text() const {
        return is_null ? std::nullopt : std::optional<std::string>(std::in_place, data, size);
    }
    [[nodiscard]] std::optional<std::int64_t> optional_number() const noexcept {
        return is_null ? std::nullopt : std::optional<std::int64_t>(number);
    }
    [[nodiscard]] bool boolean() const noexcept {
        return !is_null && number != 0;
    }
};

inline constexpr Cell null_cell{nullptr, 0, 0, true};

/// Rows of one shape; valid while the SpiConnection is open in which they were read.
struct Rows {
    Cell* cells = nullptr;
    std::size_t count = 0;
    std::size_t columns = 0;

    /// Refuses a row that did not come: even one that a statement always returns can be kept back by a
    /// trigger of the tables' owner, or by another function of the name that it calls.
    [[nodiscard]] std::span<const Cell> operator[](std::size_t row) const {
        if (row >= count) {
            refuse_missing_row();
        }
        return {cells + row * columns, columns};
    }

private:
    [[noreturn]] static void refuse_missing_row();
};

/// What a value of this type holds; text that is compressed or stored elsewhere is fetched into the current
/// memory context, other text is not copied. Raises for a type that Cell cannot hold.
Cell cell_of(PgFrame frame, Datum value, Oid type);

}  // namespace sliding_sync
