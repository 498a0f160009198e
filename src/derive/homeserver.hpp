// One attached homeserver, as this backend knows it: its schema's shape and the statements made for that shape.
#pragma once

#include "derive/apply.hpp"
#include "derive/failure.hpp"
#include "derive/key_lookup.hpp"
#include "derive/membership_facts.hpp"
#include "derive/references.hpp"
#include "derive/room_past.hpp"

namespace sliding_sync {

/// The statements for one shape of the schema.
struct Street {
    explicit Street(const HomeserverSchema& schema);

    RedactionVerdicts redacted;
    StateGroups state_groups;
    RoomFacts rooms;
    RoomPasts pasts;
    MembershipFacts memberships;
    KeyLookup lookup;
    References references;
    Apply apply;
};

/// One shape of the schema and its statements. Whoever works with it holds it: code of the tables' owner that runs in
/// between may change the shape, and the next one to ask gets another.
struct Homeserver {
    explicit Homeserver(HomeserverSchema shape) : schema(std::move(shape)), street(schema) {}

    const HomeserverSchema schema;
    mutable Street street;
};

/// The homeserver whose tables live in this schema; looks its shape up again when the catalog has changed.
[[nodiscard]] std::shared_ptr<Homeserver> homeserver_in(Oid namespace_oid);

}  // namespace sliding_sync
