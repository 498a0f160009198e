// Which index of a table finds the rows that some of its columns name.
#pragma once

#include "guard/boundary.hpp"

extern "C" {
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

inline constexpr std::size_t max_key_columns = 4;

/// The columns of a key in the order of an index's leading columns.
struct KeyIndex {
    Oid index = InvalidOid;
    std::array<std::size_t, max_key_columns> keys{};          ///< positions in the key
    std::array<AttrNumber, max_key_columns> index_columns{};  ///< from 1
};

/// An index whose leading columns are those of the key, compared the way that an SQL operator compares the table's columns;
/// of several a unique one, then the narrowest. InvalidOid when there is none. C calls only: runs inside call_pg, with
/// the table locked; what it answers holds until the catalog changes.
KeyIndex find_key_index(Relation table, std::span<const KeyColumn> key);

/// True for the types that hold text and compare as such.
[[nodiscard]] bool is_text(Oid type) noexcept;

}  // namespace sliding_sync
