#include "derive/deferred_triggers.hpp"

#include "derive/homeserver_schema.hpp"
#include "pg/spi.hpp"
#include "pg/transaction.hpp"
#include "shared/sql_text.hpp"

extern "C" {
#include "catalog/pg_type.h"
}

#include <unordered_map>

namespace sliding_sync {

namespace {

struct Deferrable {
    std::uint64_t generation = 0;
    std::string constraints;  ///< qualified names, separated by commas
};

// Another session may drop or alter one between the look and the command; if it never stops, what it makes
// fires when it fires.
constexpr int max_attempts = 3;

bool is_gone(const PgError& error) noexcept {
    return !error.is_raised_by_code() &&
           (error.sqlstate() == ERRCODE_UNDEFINED_OBJECT || error.sqlstate() == ERRCODE_INVALID_SCHEMA_NAME ||
            error.sqlstate() == ERRCODE_WRONG_OBJECT_TYPE ||
            error.sqlstate() == ERRCODE_INSUFFICIENT_PRIVILEGE);
}

std::string deferrable_constraints(Oid table_owner) {
    const SpiConnection connection;
    // SET CONSTRAINTS refuses a schema that its user may not use
    const std::array<std::string_view, 3> tables{joined_rooms_table, membership_snapshots_table,
                                                 recalculate_queue_table};
    const Rows rows = query_once(sql_text(R"(
        SELECT pg_catalog.string_agg(DISTINCT pg_catalog.quote_ident(n.nspname) %|| '.' %||
            pg_catalog.quote_ident(k.conname), ', ')
        FROM pg_catalog.pg_constraint k
        JOIN pg_catalog.pg_namespace n ON n.oid %= k.connamespace
        JOIN pg_catalog.pg_class c ON c.oid %= k.conrelid OR c.oid %= k.confrelid
        WHERE k.condeferrable AND c.relname %= ANY ($1::pg_catalog.name[])
            AND c.relowner %= $2::pg_catalog.oid AND pg_catalog.has_schema_privilege(n.oid, 'USAGE'))"),
                                 {TEXTARRAYOID, INT8OID}, Arguments().texts(tables).number(table_owner));
    return rows[0][0].optional_text().value_or("");
}

}  // namespace

void fire_deferred_triggers_at_once(Oid table_owner) {
    static std::unordered_map<Oid, Deferrable> known;
    Deferrable& deferrable = known[table_owner];
    for (int attempt = 0; attempt < max_attempts; ++attempt) {
        if (attempt > 0 || deferrable.generation != relation_generation()) {
            const std::uint64_t generation = relation_generation();
            deferrable.constraints = deferrable_constraints(table_owner);
            deferrable.generation = generation;
        }
        if (deferrable.constraints.empty()) {
            return;
        }
        const auto error = run_in_subtransaction([&] {
            const SpiConnection connection;
            run_once("SET CONSTRAINTS " + deferrable.constraints + " IMMEDIATE");
        });
        if (!error) {
            return;
        }
        if (!is_gone(*error)) {
            throw PgError(*error);
        }
    }
}

}  // namespace sliding_sync
