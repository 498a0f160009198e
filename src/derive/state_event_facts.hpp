// Reads relevant state events as the rules need them.
#pragma once

#include "derive/redactions.hpp"
#include "rules/room_state.hpp"

namespace sliding_sync {

/// Where a state event is said to stand.
struct StateEventKey {
    std::string_view room_id;
    rules::StateKind kind;
    std::string_view event_id;
};

class StateEventFacts {
public:
    StateEventFacts(const HomeserverSchema& schema, Redactions& redacted);

    /// In the order of the keys, inside an open SpiConnection, whose memory they use. Nothing where the event or its
    /// JSON is not stored, or is of another room or type. Each event is read once.
    std::vector<std::optional<rules::StateEvent>> of(LookupScope& scope, std::span<const StateEventKey> keys);

private:
    struct StoredEvent;
    std::optional<StoredEvent> read(LookupScope& scope, RedactionFilter& doubts, std::string_view event_id);

    Redactions& redacted_;
    bool has_rejections_;
    TableReader events_;
    TableReader rejections_;
    TableReader json_;
};

}  // namespace sliding_sync
