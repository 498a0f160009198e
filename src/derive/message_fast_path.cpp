#include "derive/message_fast_path.hpp"

#include "pg/transaction.hpp"
#include "shared/sql_text.hpp"

namespace sliding_sync {

namespace {

constexpr std::string_view advance_orderings_sql = R"(
    UPDATE %S.sliding_sync_joined_rooms j
    SET event_stream_ordering = GREATEST(j.event_stream_ordering, $2),
        bump_stamp = GREATEST(j.bump_stamp, $3)
    WHERE j.room_id %= $1 AND (j.event_stream_ordering %< $2 OR j.bump_stamp %< $3
        OR (j.bump_stamp IS NULL AND $3 IS NOT NULL)))";

}  // namespace

MessageFastPath::MessageFastPath(const HomeserverSchema& s, DerivedTable<JoinedRooms>& joined_rooms)
    : joined_rooms_(joined_rooms), has_rejections_(s.has_rejections),
      advance_("advance_orderings", sql_text(advance_orderings_sql, s.name), {TEXTOID, INT8OID, INT8OID}),
      stored_orderings_("stored_orderings", s, joined_rooms_table, {{"room_id", TEXTOID}},
                        {"xmin", "event_stream_ordering", "bump_stamp"}),
      rejections_("rejections_of_messages", s, table_name(BaseTable::rejections), {{"event_id", TEXTOID}},
                  {}) {}

// A row that this transaction has written is safe from others; any other one may be changed the next moment.
MessageFastPath::State MessageFastPath::look_at(const OrderingAdvance& room) {
    LookupScope scope;
    const Rows rows = stored_orderings_.find(scope, {room.room_id});
    if (rows.count == 0) {
        return State::unclear;
    }
    const auto row = rows[0];
    const bool is_advanced = row[1].number >= room.latest && row[2].optional_number() >= room.latest_bump;
    if (!written_by_this_transaction(static_cast<std::uint32_t>(row[0].number))) {
        return is_advanced ? State::unclear : State::behind;
    }
    return room.may_be_rewritten ? State::unclear : is_advanced ? State::advanced : State::behind;
}

// The rejection may have been stored before the event, by a transaction that has ended.
bool MessageFastPath::may_be_rejected(const OrderingAdvance& room) {
    if (!has_rejections_) {
        return false;
    }
    LookupScope scope;
    const auto is_told = [&](std::string_view event_id) {
        const auto found = rejections_.find_by_index(scope, {event_id});
        return !found || found->count > 0;
    };
    return is_told(room.latest_event_id) ||
           (!room.latest_bump_event_id.empty() && room.latest_bump_event_id != room.latest_event_id &&
            is_told(room.latest_bump_event_id));
}

// A wrong row of another room would make the UPDATE fail.
bool MessageFastPath::is_held_by_another(const OrderingAdvance& room) {
    const auto holders = joined_rooms_.with_ordering(room.latest);
    return !holders.empty() && holders.front() != room.room_id;
}

std::optional<std::uint64_t> MessageFastPath::advance(const OrderingAdvance& room) {
    if (may_be_rejected(room)) {
        return std::nullopt;
    }
    State state = look_first_ || room.may_be_rewritten ? look_at(room) : State::behind;
    if (state == State::behind && is_held_by_another(room)) {
        return std::nullopt;
    }
    if (state == State::behind) {
        advance_.run(Arguments().text(room.room_id).number(room.latest).number(room.latest_bump));
        look_first_ = advance_.processed() == 0;
        if (!look_first_) {
            return 1;
        }
        state = look_at(room);
    }
    return state == State::advanced ? std::optional<std::uint64_t>(0) : std::nullopt;
}

}  // namespace sliding_sync
