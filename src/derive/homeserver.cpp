#include "derive/homeserver.hpp"

namespace sliding_sync {

Street::Street(const HomeserverSchema& schema)
    : redacted(schema), state_groups(schema), rooms(schema, redacted), pasts(schema, rooms),
      memberships(schema, redacted), lookup(schema), apply(schema) {}

Homeserver& homeserver_in(Oid namespace_oid) {
    static std::unordered_map<Oid, Homeserver> homeservers;  // a backend meets one or two
    Homeserver& homeserver = homeservers[namespace_oid];
    if (homeserver.generation == catalog_generation()) {
        return homeserver;
    }
    HomeserverSchema schema = read_homeserver_schema(namespace_oid);
    if (homeserver.street == nullptr || schema != homeserver.schema) {
        homeserver.street = std::make_unique<Street>(schema);
        homeserver.schema = std::move(schema);
    }
    homeserver.generation = catalog_generation();
    return homeserver;
}

}  // namespace sliding_sync
