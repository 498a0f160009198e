// One attached homeserver, as this backend knows it: its schema's shape and the statements made for that shape.
#pragma once

#include "derive/apply.hpp"
#include "derive/facts.hpp"

namespace sliding_sync {

struct Homeserver {
    HomeserverSchema schema;
    std::uint64_t generation = 0;
    std::unique_ptr<Facts> facts;
    std::unique_ptr<Apply> apply;
};

/// The homeserver whose tables live in this schema; looks its shape up again when the catalog has changed.
[[nodiscard]] Homeserver& homeserver_in(Oid namespace_oid);

}  // namespace sliding_sync
