#include "derive/homeserver.hpp"

#include "derive/plain_table.hpp"

extern "C" {
#include "storage/lmgr.h"
}

namespace sliding_sync {

Statements::Statements(const HomeserverSchema& schema)
    : joined_rooms(schema), snapshots(schema), message_fast_path(schema, joined_rooms), redacted(schema),
      state_groups(schema), rooms(schema, redacted, joined_rooms), histories(schema, rooms),
      memberships(schema, redacted, snapshots), lookup(schema), references(schema, joined_rooms, snapshots) {}

namespace {

std::optional<bool> look_at_snapshots(const HomeserverSchema& schema) {
    if (schema.membership_snapshots != TableShape::known) {
        return false;
    }
    return call_pg([&](PgFrame frame) {
        return is_plain_table(frame, find_table(membership_snapshots_table, schema.namespace_oid));
    });
}

}  // namespace

bool Homeserver::snapshots_are_plain() const {
    if (!snapshots_are_plain_) {
        snapshots_are_plain_ = look_at_snapshots(schema);
    }
    return snapshots_are_plain_.value_or(false);
}

bool Homeserver::is_still_true() const {
    return !snapshots_are_plain_ || snapshots_are_plain_ == look_at_snapshots(schema);
}

std::shared_ptr<Homeserver> homeserver_in(Oid namespace_oid) {
    struct Known {
        std::uint64_t generation = 0;
        std::shared_ptr<Homeserver> homeserver;
    };
    // a backend meets one or two; never destroyed, for at its exit the server's memory is gone first
    static auto& known = *new std::unordered_map<Oid, Known>;
    const auto found = known.find(namespace_oid);
    if (found != known.end() && found->second.generation == catalog_generation()) {
        return found->second.homeserver;
    }
    if (found == known.end()) {
        forget_gone_schemas(known);
    }
    // reading the catalog may bring further changes with it: those are seen the next time
    const std::uint64_t generation = catalog_generation();
    HomeserverSchema schema = read_homeserver_schema(namespace_oid);
    Known& entry = known[namespace_oid];
    if (entry.homeserver == nullptr || schema != entry.homeserver->schema ||
        !entry.homeserver->is_still_true()) {
        entry.homeserver = std::make_shared<Homeserver>(std::move(schema));
    }
    entry.generation = entry.homeserver->schema.is_settled ? generation : 0;
    return entry.homeserver;
}

void lock_to_write(const HomeserverSchema& schema, std::span<const char* const> tables) {
    call_pg([&] {
        for (const char* const name : tables) {
            if (const Oid table = watched_relation(name, schema.namespace_oid); OidIsValid(table)) {
                LockRelationOid(table, RowExclusiveLock);
            }
        }
    });
}

bool stay_plain(const Homeserver& homeserver, std::span<const char* const> tables) {
    lock_to_write(homeserver.schema, tables);
    return homeserver_in(homeserver.schema.namespace_oid).get() == &homeserver;
}

}  // namespace sliding_sync
