#include "derive/homeserver.hpp"

namespace sliding_sync {

Homeserver& homeserver_in(Oid namespace_oid) {
    static std::unordered_map<Oid, Homeserver> homeservers;  // a backend meets one or two
    Homeserver& homeserver = homeservers[namespace_oid];
    if (homeserver.generation == catalog_generation()) {
        return homeserver;
    }
    HomeserverSchema schema = read_homeserver_schema(namespace_oid);
    if (homeserver.facts == nullptr || schema != homeserver.schema) {
        homeserver.facts = std::make_unique<Facts>(schema);
        homeserver.apply = std::make_unique<Apply>(schema);
        homeserver.schema = std::move(schema);
    }
    homeserver.generation = catalog_generation();
    return homeserver;
}

}  // namespace sliding_sync
