// The fast path of a plain message: its orderings are known from its own row, so two numbers of the room's
// row are advanced by one UPDATE with constants, and nothing is read.
#pragma once

#include "derive/derived_table.hpp"

namespace sliding_sync {

/// New orderings of one room, as the inserted events gave them.
struct OrderingAdvance {
    std::string_view room_id;
    std::int64_t latest;
    std::optional<std::int64_t> latest_bump;
    std::string_view latest_event_id;
    std::string_view latest_bump_event_id;
    /// By another writer in this transaction: then the room needs a closer look.
    bool may_be_rewritten = false;
};

class MessageFastPath {
public:
    MessageFastPath(const HomeserverSchema& schema, DerivedTable<JoinedRooms>& joined_rooms);

    /// Advances the two numbers, never lowers them; returns how many rows it has written. Nothing when the
    /// room needs a closer look: there is no such row, an event is rejected, somebody else has written it, or
    /// another room's row has the ordering. Works inside an open SpiConnection.
    std::optional<std::uint64_t> advance(const OrderingAdvance& room);

private:
    enum class State { advanced, behind, unclear };
    State look_at(const OrderingAdvance& room);
    bool may_be_rejected(const OrderingAdvance& room);
    bool is_held_by_another(const OrderingAdvance& room);

    // A homeserver that keeps the row itself has advanced it before us: then a look is cheaper than an UPDATE
    // that finds nothing to do. Whatever was right last time is tried first.
    bool look_first_ = false;
    DerivedTable<JoinedRooms>& joined_rooms_;
    bool has_rejections_;
    Statement advance_;
    TableReader stored_orderings_;
    TableReader rejections_;
};

}  // namespace sliding_sync
