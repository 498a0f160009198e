// Where the columns of tables are. Looked up by name and dropped when the server says that a table changed,
// so that a homeserver's migrations find nothing that depends on their columns.
#pragma once

#include "guard/boundary.hpp"

extern "C" {
#include "utils/rel.h"
}

namespace sliding_sync {

/// A schema, as statements name it.
struct Schema {
    Oid namespace_oid = InvalidOid;
    std::string name;  ///< quoted as an identifier
    std::string unquoted_name;

    friend bool operator==(const Schema&, const Schema&) = default;
};

/// The owner of a relation, or InvalidOid. C calls only.
[[nodiscard]] Oid relation_owner(Oid relation);

/// The relation of that name, or InvalidOid. From now on, whatever happens to it or to its name makes
/// catalog_generation() grow. C calls only.
[[nodiscard]] Oid watched_relation(const char* name, Oid namespace_oid);

/// The same for a relation that is known already; for its name where it is open and locked.
void watch_relation(Oid relation) noexcept;

/// watched_relation() for a table, partitioned or not; InvalidOid for anything else. C calls only.
[[nodiscard]] Oid find_table(const char* name, Oid namespace_oid);

/// Rows of the relation as of the last ANALYZE; below 0 where there was none, or no relation. C calls only.
[[nodiscard]] double estimated_rows(Oid relation);

/// Is text of this collation sorted as memcmp() sorts it? False where that is not known for sure.
[[nodiscard]] bool is_order_of_bytes(PgFrame frame, Oid collation);

[[nodiscard]] bool schema_exists(Oid namespace_oid);

/// Drops what is remembered of schemas that are gone: a session may see many come and go. Whatever is in use
/// is held by its user. Raises PgError.
template <typename Map>
void forget_gone_schemas(Map& by_namespace) {
    std::erase_if(by_namespace,
                  [](const auto& entry) { return !call_pg([&] { return schema_exists(entry.first); }); });
}

/// A number that grows whenever something that was found or watched here, its schema, or a role may have
/// changed. What is remembered under it has been looked up after the number was read, or of a relation that
/// was open and watched.
[[nodiscard]] std::uint64_t catalog_generation() noexcept;

/// Whatever others have committed until now counts from here on. To take a lock on a table does the same, but
/// not on one that the transaction has locked before. Raises PgError.
void hear_of_changes();

/// A number that grows whenever any relation, schema or role may have changed.
[[nodiscard]] std::uint64_t relation_generation() noexcept;

/// Registers the invalidation callbacks; once a backend.
void watch_catalog();

/// What a column must hold to be read as such; anything else reads as if the column were not there.
enum class ColumnKind : std::uint8_t { text, bigint, integer, boolean, key };

struct ColumnSpec {
    const char* name;
    ColumnKind kind;           ///< `key`: text that names what a row concerns
    bool is_optional = false;  ///< older homeservers do not have it
};

/// Attribute numbers by name, remembered for one relation until the catalog changes.
/// InvalidAttrNumber stands for a column that does not exist, or has another type.
template <std::size_t count>
struct ColumnNumbers {
    Oid relation = InvalidOid;
    std::uint64_t generation = 0;
    std::array<AttrNumber, count> numbers{};
    bool has_keys = false;     ///< every key column is there
    bool is_complete = false;  ///< every column is there but optional ones
};

/// The live column of that name, or nullptr.
[[nodiscard]] Form_pg_attribute find_attribute(TupleDesc description, const char* name) noexcept;

/// The attribute number of a live column of that kind, or InvalidAttrNumber.
[[nodiscard]] AttrNumber find_column(Relation relation, const ColumnSpec& column) noexcept;

/// Fills `columns` for `relation` if it is stale. C calls only: usable outside call_pg where no C++ object
/// lives.
template <std::size_t count>
const ColumnNumbers<count>& column_numbers(ColumnNumbers<count>& columns, Relation relation,
                                           const std::array<ColumnSpec, count>& specs) {
    if (columns.relation != RelationGetRelid(relation) || columns.generation != catalog_generation()) {
        columns.has_keys = true;
        columns.is_complete = true;
        for (std::size_t i = 0; i < count; ++i) {
            columns.numbers[i] = find_column(relation, specs[i]);
            const bool is_missing = columns.numbers[i] == InvalidAttrNumber && !specs[i].is_optional;
            columns.is_complete = columns.is_complete && !is_missing;
            columns.has_keys = columns.has_keys && !(is_missing && specs[i].kind == ColumnKind::key);
        }
        columns.relation = RelationGetRelid(relation);
        watch_relation(columns.relation);
        columns.generation = catalog_generation();
    }
    return columns;
}

}  // namespace sliding_sync
