// Reads relevant state events as the rules need them.
#pragma once

#include <functional>

#include "derive/redactions.hpp"
#include "rules/room_state.hpp"

namespace sliding_sync {

/// Where a state event is said to stand.
struct StateEventKey {
    std::string_view room_id;
    rules::StateKind kind;
    std::string_view event_id;
};

/// What a room's row says of its current state, where there is one; asked only when it saves a lot.
using StateTold = std::function<std::optional<rules::RoomState>(LookupScope&, std::string_view room_id)>;

class StateEventFacts {
public:
    StateEventFacts(const HomeserverSchema& schema, Redactions& redacted);

    /// In the order of the keys, inside an open SpiConnection, whose memory they use. Nothing where the event
    /// or its JSON is not stored, or is of another room or type. Each event is read once. With `told` they
    /// are current state, and one that many redactions name is redacted if the room's row lacks its value.
    std::vector<std::optional<rules::StateEvent>> of(LookupScope& scope, std::span<const StateEventKey> keys,
                                                     const StateTold& told = {});

private:
    struct StoredEvent;
    std::optional<StoredEvent> read(LookupScope& scope, RedactionFilter& filter, std::string_view event_id);

    Redactions& redacted_;
    bool has_rejections_;
    TableReader events_;
    TableReader rejections_;
    TableReader json_;
};

}  // namespace sliding_sync
