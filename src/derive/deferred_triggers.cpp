#include "derive/deferred_triggers.hpp"

#include "derive/homeserver_schema.hpp"
#include "pg/spi.hpp"

#include <unordered_map>

namespace sliding_sync {

namespace {

struct Deferrable {
    std::uint64_t generation = 0;
    std::string constraints;  ///< qualified names, separated by commas
};

std::string deferrable_constraints(Oid table_owner) {
    const SpiConnection connection;
    // SET CONSTRAINTS refuses a schema that its user may not use
    const Rows rows = query_once(
        "SELECT pg_catalog.string_agg(DISTINCT pg_catalog.format('%I.%I', n.nspname, k.conname), ', ') "
        "FROM pg_catalog.pg_constraint k "
        "JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) k.connamespace "
        "JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) k.conrelid "
        "OR c.oid OPERATOR(pg_catalog.=) k.confrelid "
        "WHERE k.condeferrable AND c.relname OPERATOR(pg_catalog.=) ANY (ARRAY['" +
        std::string(joined_rooms_table) + "','" + membership_snapshots_table + "','" +
        recalculate_queue_table + "']::pg_catalog.name[]) AND c.relowner OPERATOR(pg_catalog.=) " +
        std::to_string(table_owner) + " AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')");
    return rows[0][0].optional_text().value_or("");
}

}  // namespace

void fire_deferred_triggers_at_once(Oid table_owner) {
    static std::unordered_map<Oid, Deferrable> known;
    Deferrable& deferrable = known[table_owner];
    if (deferrable.generation != catalog_generation()) {
        const std::uint64_t generation = catalog_generation();
        deferrable.constraints = deferrable_constraints(table_owner);
        deferrable.generation = generation;
    }
    if (!deferrable.constraints.empty()) {
        const SpiConnection connection;
        run_once("SET CONSTRAINTS " + deferrable.constraints + " IMMEDIATE");
    }
}

}  // namespace sliding_sync
