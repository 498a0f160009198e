// Reads what the rules need to know of rooms, for sets of rooms.
#pragma once

#include "derive/derived_table.hpp"
#include "derive/state_event_facts.hpp"
#include "derive/state_groups.hpp"
#include "rules/joined_room.hpp"

namespace sliding_sync {

/// Newest eligible events of a room: neither outlier nor rejected, with a stream ordering (D5-D7, H72).
struct Orderings {
    std::optional<std::int64_t> latest;
    std::optional<std::int64_t> latest_bump;
};

/// Every function answers in the order of its keys, inside an open SpiConnection; views in the answers live
/// as long as that connection. Bad data is never an error here: what is missing or unreadable comes out
/// empty.
class RoomFacts {
public:
    RoomFacts(const HomeserverSchema& schema, Redactions& redacted, DerivedTable<JoinedRooms>& rows);

    /// Which of them stand in `rooms`.
    std::vector<bool> in_rooms(std::span<const std::string_view> room_ids);
    /// Which of these events have a row in `rejections`; an empty id: none.
    std::vector<bool> are_rejected(std::span<const std::string_view> event_ids);
    std::vector<Orderings> orderings(std::span<const std::string_view> room_ids);

    /// The stored relevant events of current state.
    std::vector<rules::StateEvents> current_state(std::span<const std::string_view> room_ids);

    /// The same, where the rooms' own rows are right by now: what these say saves judging many redactions
    /// again.
    std::vector<rules::StateEvents> current_state_by_rows(std::span<const std::string_view> room_ids);

    /// The stored ones of these events; one of another room or type counts as not stored.
    std::vector<rules::StateEvents> events(std::span<const std::string_view> room_ids,
                                           std::span<const StateEventIds> event_ids);

    /// The same, of a state that this transaction has wiped: as a reader sees the events now, redactions of
    /// this very transaction included; one that it has deleted as it stood before.
    std::vector<rules::StateEvents> wiped_events(std::span<const std::string_view> room_ids,
                                                 std::vector<StateEventIds> event_ids);

    /// The same for rooms whose current state is gone, where no state group tells: what stood there before
    /// this transaction, overlaid with the newest relevant state events that it stored itself and that are
    /// not soft-failed, none of which is older than `oldest[i]` (nothing: it stored none). A last leave and a
    /// name change in one transaction meet only here (H7).
    std::vector<rules::StateEvents> wiped_state(std::span<const std::string_view> room_ids,
                                                std::span<const std::optional<std::int64_t>> oldest);

private:
    std::vector<StateEventIds> current_state_ids(LookupScope& scope,
                                                 std::span<const std::string_view> room_ids);
    std::vector<rules::StateEvents> read_events(LookupScope& scope,
                                                std::span<const std::string_view> room_ids,
                                                std::span<const StateEventIds> event_ids,
                                                const StateTold& told = {});

    bool has_rows_;
    bool has_rejections_;
    DerivedTable<JoinedRooms>& rows_;
    StateEventFacts state_events_;
    TableReader rooms_;
    TableReader rejections_;
    RowsStatement orderings_;
    TableReader current_state_;
    Statement new_state_ids_;
    Statement visible_before_;
};

}  // namespace sliding_sync
