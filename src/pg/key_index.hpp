// Which index of a table finds the rows that some of its columns name.
#pragma once

#include "guard/boundary.hpp"

extern "C" {
#include "access/stratnum.h"
#include "utils/rel.h"
}

namespace sliding_sync {

enum class KeyComparison : std::uint8_t { equal, at_least, at_most };

/// A column of a key, and how it compares with a value.
struct KeyColumn {
    const char* name;
    Oid type;  ///< TEXTOID or INT8OID
    KeyComparison comparison = KeyComparison::equal;
};

/// The comparison as the server knows it: in SQL, in an index of the type's default family, and as a
/// function.
struct KeyOperator {
    const char* sql;
    StrategyNumber strategy;
    int procedure;
};
[[nodiscard]] KeyOperator key_operator(const KeyColumn& column) noexcept;

/// What a key column must hold.
struct KeyValue {
    KeyValue(std::string_view value) noexcept : text(value), number(0) {}
    KeyValue(const std::string& value) noexcept : text(value), number(0) {}
    KeyValue(const char* value) noexcept : text(value), number(0) {}
    KeyValue(std::int64_t value) noexcept : text(), number(value) {}
    std::string_view text;
    std::int64_t number;
};

inline constexpr std::size_t max_key_columns = 4;

/// The columns of a key in the order of an index's leading columns.
struct KeyIndex {
    Oid index = InvalidOid;
    std::array<std::size_t, max_key_columns> keys{};          ///< positions in the key
    std::array<AttrNumber, max_key_columns> index_columns{};  ///< from 1
};

/// An index whose leading columns are those of the key, compared the way that an SQL operator compares the
/// table's columns; of several a unique one, then the narrowest. InvalidOid when there is none. What it
/// returns holds, while the table is locked, until the catalog changes.
[[nodiscard]] KeyIndex find_key_index(PgFrame frame, Relation table, std::span<const KeyColumn> key);

/// True for the types that hold text and compare as such.
[[nodiscard]] bool is_text(Oid type) noexcept;

}  // namespace sliding_sync
