// One attached homeserver, as this backend knows it: its schema's shape and the statements made for that shape.
#pragma once

#include "derive/apply.hpp"
#include "derive/failure.hpp"
#include "derive/key_lookup.hpp"
#include "derive/membership_facts.hpp"
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
    Apply apply;
};

struct Homeserver {
    HomeserverSchema schema;
    std::uint64_t generation = 0;
    std::unique_ptr<Street> street;
    Fuse fuse;
    Fuse patient_fuse = Fuse::patient();
};

/// The homeserver whose tables live in this schema; looks its shape up again when the catalog has changed.
[[nodiscard]] Homeserver& homeserver_in(Oid namespace_oid);

}  // namespace sliding_sync
