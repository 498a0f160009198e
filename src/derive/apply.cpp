#include "derive/apply.hpp"

#include "server/transaction.hpp"

#include <set>

#include "derive/sql_text.hpp"

extern "C" {
#include "catalog/pg_type.h"
}

namespace sliding_sync {

namespace {

using OptionalText = std::optional<std::string_view>;
using OptionalNumber = std::optional<std::int64_t>;

OptionalText view(const std::optional<std::string>& text) {
    return text ? OptionalText(*text) : std::nullopt;
}

// Booleans travel as a plain array: std::vector<bool> has no contiguous elements.
template <typename Row, typename Field>
Arguments& add_booleans(Arguments& arguments, const std::vector<Row>& rows, Field field) {
    const auto values = std::make_unique<bool[]>(rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
        values[i] = field(rows[i]);
    }
    return arguments.booleans({values.get(), rows.size()});
}

template <typename Row, typename Field>
Arguments& add_texts(Arguments& arguments, const std::vector<Row>& rows, Field field) {
    std::vector<OptionalText> values;
    values.reserve(rows.size());
    for (const Row& row : rows) {
        values.push_back(field(row));
    }
    return arguments.texts(values);
}

template <typename Row, typename Field>
Arguments& add_numbers(Arguments& arguments, const std::vector<Row>& rows, Field field) {
    std::vector<OptionalNumber> values;
    values.reserve(rows.size());
    for (const Row& row : rows) {
        values.push_back(field(row));
    }
    return arguments.numbers(values);
}

template <typename Row>
void add_state(Arguments& arguments, const std::vector<Row>& rows) {
    add_texts(arguments, rows, [](const Row& row) { return view(row.state.room_type); });
    add_texts(arguments, rows, [](const Row& row) { return view(row.state.room_name); });
    add_booleans(arguments, rows, [](const Row& row) { return row.state.is_encrypted; });
    add_texts(arguments, rows, [](const Row& row) { return view(row.state.tombstone_successor_room_id); });
}

Arguments joined_room_arguments(const std::vector<rules::JoinedRoom>& rows) {
    using Row = rules::JoinedRoom;
    Arguments arguments(rows.size());
    add_texts(arguments, rows, [](const Row& row) { return OptionalText(row.room_id); });
    add_numbers(arguments, rows, [](const Row& row) { return OptionalNumber(row.event_stream_ordering); });
    add_numbers(arguments, rows, [](const Row& row) { return row.bump_stamp; });
    add_state(arguments, rows);
    return arguments;
}

Arguments membership_arguments(const std::vector<rules::MembershipSnapshot>& rows) {
    using Row = rules::MembershipSnapshot;
    Arguments arguments(rows.size());
    add_texts(arguments, rows, [](const Row& row) { return OptionalText(row.room_id); });
    add_texts(arguments, rows, [](const Row& row) { return OptionalText(row.user_id); });
    add_texts(arguments, rows, [](const Row& row) { return OptionalText(row.sender); });
    add_texts(arguments, rows, [](const Row& row) { return OptionalText(row.membership_event_id); });
    add_texts(arguments, rows, [](const Row& row) { return OptionalText(row.membership); });
    add_numbers(arguments, rows, [](const Row& row) { return OptionalNumber(row.forgotten ? 1 : 0); });
    add_numbers(arguments, rows, [](const Row& row) { return OptionalNumber(row.event_stream_ordering); });
    add_texts(arguments, rows, [](const Row& row) { return OptionalText(row.event_instance_name); });
    add_booleans(arguments, rows, [](const Row& row) { return row.has_known_state; });
    add_state(arguments, rows);
    return arguments;
}

constexpr std::string_view joined_room_columns = "room_id, event_stream_ordering, bump_stamp, room_type, "
                                                 "room_name, is_encrypted, tombstone_successor_room_id";

const ParameterRows joined_room_rows{"v",
                                     {{"room_id", TEXTOID},
                                      {"event_stream_ordering", INT8OID},
                                      {"bump_stamp", INT8OID},
                                      {"room_type", TEXTOID},
                                      {"room_name", TEXTOID},
                                      {"is_encrypted", BOOLOID},
                                      {"tombstone_successor_room_id", TEXTOID}}};

constexpr std::string_view membership_columns =
    "room_id, user_id, sender, membership_event_id, membership, forgotten, event_stream_ordering, "
    "event_instance_name, has_known_state, room_type, room_name, is_encrypted, tombstone_successor_room_id";

const ParameterRows membership_rows{"v",
                                    {{"room_id", TEXTOID},
                                     {"user_id", TEXTOID},
                                     {"sender", TEXTOID},
                                     {"membership_event_id", TEXTOID},
                                     {"membership", TEXTOID},
                                     {"forgotten", INT8OID},
                                     {"event_stream_ordering", INT8OID},
                                     {"event_instance_name", TEXTOID},
                                     {"has_known_state", BOOLOID},
                                     {"room_type", TEXTOID},
                                     {"room_name", TEXTOID},
                                     {"is_encrypted", BOOLOID},
                                     {"tombstone_successor_room_id", TEXTOID}}};

// Keys of `rows` that `inserted` (the key columns of a RETURNING list) does not hold.
template <typename Key, typename Row, typename KeyOf>
std::vector<Key> not_inserted(const std::vector<Row>& rows, std::set<Key> inserted, KeyOf key_of) {
    std::vector<Key> missing;
    for (const Row& row : rows) {
        if (!inserted.contains(key_of(row))) {
            missing.push_back(key_of(row));
        }
    }
    return missing;
}

}  // namespace

void JoinedRoomChanges::add(std::string_view room_id, const std::optional<rules::JoinedRoom>& stored,
                            std::optional<rules::JoinedRoom> wanted) {
    if (stored == wanted) {
        return;
    }
    if (!wanted) {
        remove.push_back(room_id);
    } else if (!stored) {
        insert.push_back(std::move(*wanted));
    } else if (wanted->event_stream_ordering < stored->event_stream_ordering) {
        update.insert(update.begin() + static_cast<std::ptrdiff_t>(giving_up++), std::move(*wanted));
    } else {
        update.push_back(std::move(*wanted));
    }
}

void MembershipChanges::add(const MembershipKey& key, const std::optional<rules::MembershipSnapshot>& stored,
                            std::optional<rules::MembershipSnapshot> wanted) {
    if (stored == wanted) {
        return;
    }
    if (!wanted) {
        remove.push_back(key);
    } else {
        (stored ? update : insert).push_back(std::move(*wanted));
    }
}

Apply::Apply(const HomeserverSchema& s)
    : has_joined_rooms_(s.joined_rooms != TableShape::missing),
      has_membership_snapshots_(s.membership_snapshots != TableShape::missing),
      has_recalculate_queue_(s.has_recalculate_queue),
      raise_one_("raise_one",
                 sql_text("UPDATE %S.sliding_sync_joined_rooms j SET "
                          "event_stream_ordering = GREATEST(j.event_stream_ordering, $2), "
                          "bump_stamp = GREATEST(j.bump_stamp, $3) WHERE j.room_id %= $1 AND "
                          "(j.event_stream_ordering %< $2 OR j.bump_stamp %< $3 OR "
                          "(j.bump_stamp IS NULL AND $3 IS NOT NULL))",
                          s.name),
                 {TEXTOID, INT8OID, INT8OID}),
      raise_many_(
          "raise_many",
          sql_text("UPDATE %S.sliding_sync_joined_rooms j SET "
                   "event_stream_ordering = GREATEST(j.event_stream_ordering, v.latest), "
                   "bump_stamp = GREATEST(j.bump_stamp, v.latest_bump) "
                   "FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) "
                   "v(room_id, latest, latest_bump) WHERE j.room_id %= v.room_id AND "
                   "(j.event_stream_ordering %< v.latest OR j.bump_stamp %< v.latest_bump OR "
                   "(j.bump_stamp IS NULL AND v.latest_bump IS NOT NULL)) RETURNING v.room_id",
                   s.name),
          {TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID}),
      existing_joined_rooms_(
          "existing_joined_rooms",
          sql_text("SELECT j.room_id FROM %S.sliding_sync_joined_rooms j WHERE j.room_id %= ANY ($1)",
                   s.name),
          {TEXTARRAYOID}),
      stored_orderings_("stored_orderings", s, joined_rooms_table, {{"room_id", TEXTOID}},
                        {"xmin", "event_stream_ordering", "bump_stamp"}),
      insert_joined_rooms_("insert_joined_rooms",
                           "INSERT INTO %S.sliding_sync_joined_rooms (" + std::string(joined_room_columns) +
                               ") SELECT " + std::string(joined_room_columns) +
                               " FROM {rows} ON CONFLICT (room_id) DO NOTHING RETURNING room_id",
                           s.name, joined_room_rows),
      update_joined_rooms_("update_joined_rooms",
                           "UPDATE %S.sliding_sync_joined_rooms j SET "
                           "event_stream_ordering = v.event_stream_ordering, bump_stamp = v.bump_stamp, "
                           "room_type = v.room_type, room_name = v.room_name, is_encrypted = v.is_encrypted, "
                           "tombstone_successor_room_id = v.tombstone_successor_room_id FROM {rows} "
                           "WHERE j.room_id %= v.room_id",
                           s.name, joined_room_rows),
      remove_joined_rooms_(
          "remove_joined_rooms",
          sql_text("DELETE FROM %S.sliding_sync_joined_rooms j WHERE j.room_id %= ANY ($1)", s.name),
          {TEXTARRAYOID}),
      insert_memberships_("insert_memberships",
                          "INSERT INTO %S.sliding_sync_membership_snapshots (" +
                              std::string(membership_columns) + ") SELECT " +
                              std::string(membership_columns) +
                              " FROM {rows} ON CONFLICT (room_id, user_id) DO NOTHING "
                              "RETURNING room_id, user_id",
                          s.name, membership_rows),
      update_memberships_("update_memberships",
                          "UPDATE %S.sliding_sync_membership_snapshots m SET sender = v.sender, "
                          "membership_event_id = v.membership_event_id, membership = v.membership, "
                          "forgotten = v.forgotten, event_stream_ordering = v.event_stream_ordering, "
                          "event_instance_name = v.event_instance_name, has_known_state = v.has_known_state, "
                          "room_type = v.room_type, room_name = v.room_name, is_encrypted = v.is_encrypted, "
                          "tombstone_successor_room_id = v.tombstone_successor_room_id FROM {rows} "
                          "WHERE m.room_id %= v.room_id AND m.user_id %= v.user_id",
                          s.name, membership_rows),
      remove_memberships_(
          "remove_memberships",
          sql_text("DELETE FROM %S.sliding_sync_membership_snapshots m "
                   "USING ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) v(room_id, user_id) "
                   "WHERE m.room_id %= v.room_id AND m.user_id %= v.user_id",
                   s.name),
          {TEXTARRAYOID, TEXTARRAYOID}),
      await_joined_rooms_(
          "await_joined_rooms",
          sql_text("INSERT INTO %S.sliding_sync_joined_rooms (room_id, event_stream_ordering, "
                   "is_encrypted) SELECT k.room_id, -9223372036854775807 %+ k.n, false "
                   "FROM pg_catalog.unnest($1) WITH ORDINALITY k(room_id, n) "
                   "ON CONFLICT (room_id) DO NOTHING",
                   s.name),
          {TEXTARRAYOID}),
      await_memberships_(
          "await_memberships",
          sql_text("INSERT INTO %S.sliding_sync_membership_snapshots (room_id, user_id, sender, "
                   "membership_event_id, membership, forgotten, event_stream_ordering, "
                   "event_instance_name, has_known_state, is_encrypted) SELECT k.room_id, "
                   "k.user_id, '', '', 'leave', 0, 0, '', false, false FROM ROWS FROM "
                   "(pg_catalog.unnest($1), pg_catalog.unnest($2)) k(room_id, user_id) "
                   "ON CONFLICT (room_id, user_id) DO NOTHING",
                   s.name),
          {TEXTARRAYOID, TEXTARRAYOID}),
      remove_all_joined_rooms_("remove_all_joined_rooms",
                               sql_text("DELETE FROM %S.sliding_sync_joined_rooms", s.name), {}),
      remove_all_memberships_("remove_all_memberships",
                              sql_text("DELETE FROM %S.sliding_sync_membership_snapshots", s.name), {}),
      remove_memberships_of_event_(
          "remove_memberships_of_event",
          sql_text("DELETE FROM %S.sliding_sync_membership_snapshots m WHERE m.membership_event_id %= $1 "
                   "RETURNING m.room_id, m.user_id",
                   s.name),
          {TEXTOID}),
      remove_memberships_of_room_(
          "remove_memberships_of_room",
          sql_text("DELETE FROM %S.sliding_sync_membership_snapshots m WHERE m.room_id %= $1 "
                   "RETURNING m.room_id, m.user_id",
                   s.name),
          {TEXTOID}),
      remove_queue_of_room_(
          "remove_queue_of_room",
          sql_text("DELETE FROM %S.sliding_sync_joined_rooms_to_recalculate q WHERE q.room_id %= $1", s.name),
          {TEXTOID}) {}

Apply::Raised Apply::look_at(const RaisedOrderings& room) {
    Reading reading;
    const Rows rows = stored_orderings_.find(reading, {room.room_id});
    if (rows.count == 0) {
        return Raised::no_row;
    }
    const auto row = rows[0];
    if (room.may_be_written && written_by_this_transaction(static_cast<std::uint32_t>(row[0].number))) {
        return Raised::by_somebody;
    }
    return row[1].number >= room.latest && row[2].optional_number() >= room.latest_bump ? Raised::yes
                                                                                        : Raised::not_yet;
}

Applied<std::string_view> Apply::raise_one(const RaisedOrderings& room) {
    Applied<std::string_view> applied;
    Raised raised = look_first_ || room.may_be_written ? look_at(room) : Raised::not_yet;
    if (raised == Raised::not_yet) {
        raise_one_.run(Arguments().text(room.room_id).number(room.latest).number(room.latest_bump));
        applied.written = raise_one_.processed();
        look_first_ = applied.written == 0;
        raised = look_first_ ? look_at(room) : Raised::yes;
    }
    if (raised == Raised::no_row || raised == Raised::by_somebody) {
        applied.again.push_back(room.room_id);
    }
    return applied;
}

Applied<std::string_view> Apply::raise_orderings(std::span<const RaisedOrderings> rooms) {
    if (rooms.size() == 1) {
        return raise_one(rooms.front());
    }
    Applied<std::string_view> applied;
    std::vector<std::string_view> room_ids;
    std::vector<OptionalNumber> latest;
    std::vector<OptionalNumber> bumps;
    for (const RaisedOrderings& room : rooms) {
        room_ids.push_back(room.room_id);
        latest.emplace_back(room.latest);
        bumps.push_back(room.latest_bump);
    }
    const Rows rows = raise_many_.run(Arguments().texts(room_ids).numbers(latest).numbers(bumps));
    applied.written = rows.count;
    std::set<std::string_view> raised;
    for (std::size_t i = 0; i < rows.count; ++i) {
        raised.insert(rows[i][0].text());
    }
    if (raised.size() < rooms.size()) {
        const Rows there = existing_joined_rooms_.run(Arguments().texts(room_ids));
        for (std::size_t i = 0; i < there.count; ++i) {
            raised.insert(there[i][0].text());
        }
    }
    std::copy_if(room_ids.begin(), room_ids.end(), std::back_inserter(applied.again),
                 [&](std::string_view room_id) { return !raised.contains(room_id); });
    return applied;
}

Applied<std::string_view> Apply::joined_rooms(const JoinedRoomChanges& changes) {
    Applied<std::string_view> applied;
    if (!changes.remove.empty()) {
        applied.written += remove_joined_rooms(changes.remove);
    }
    if (!changes.update.empty()) {
        update_joined_rooms_.run(joined_room_arguments(changes.update));
        applied.written += update_joined_rooms_.processed();
    }
    if (!changes.insert.empty()) {
        const Rows rows = insert_joined_rooms_.run(joined_room_arguments(changes.insert));
        std::set<std::string_view> inserted;
        for (std::size_t i = 0; i < rows.count; ++i) {
            inserted.insert(rows[i][0].text());
        }
        applied.written += rows.count;
        applied.again =
            not_inserted<std::string_view>(changes.insert, inserted, [](const rules::JoinedRoom& row) {
                return std::string_view(row.room_id);
            });
    }
    return applied;
}

Applied<MembershipKey> Apply::memberships(const MembershipChanges& changes) {
    Applied<MembershipKey> applied;
    if (!changes.remove.empty()) {
        applied.written += remove_memberships(changes.remove);
    }
    if (!changes.update.empty()) {
        update_memberships_.run(membership_arguments(changes.update));
        applied.written += update_memberships_.processed();
    }
    if (!changes.insert.empty()) {
        const Rows rows = insert_memberships_.run(membership_arguments(changes.insert));
        std::set<MembershipKey> inserted;
        for (std::size_t i = 0; i < rows.count; ++i) {
            inserted.insert({rows[i][0].text(), rows[i][1].text()});
        }
        applied.written += rows.count;
        applied.again =
            not_inserted<MembershipKey>(changes.insert, inserted, [](const rules::MembershipSnapshot& row) {
                return MembershipKey{row.room_id, row.user_id};
            });
    }
    return applied;
}

namespace {

struct RollBack {};

// Rows with the same keys wait for whoever is inserting them. Nothing of ours is to stay.
void await(const std::function<void()>& insert) {
    try {
        const auto failure = run_in_subtransaction([&] {
            insert();
            throw RollBack{};
        });
        (void)failure;  // nobody was inserting: such rows refer to nothing
    } catch (const RollBack&) {
    }
}

}  // namespace

void Apply::await_joined_rooms(std::span<const std::string_view> room_ids) {
    await([&] {
        const SpiConnection connection;
        await_joined_rooms_.run(Arguments().texts(room_ids));
    });
}

void Apply::await_memberships(std::span<const MembershipKey> keys) {
    await([&] {
        const MembershipKeyColumns columns(keys);
        const SpiConnection connection;
        await_memberships_.run(Arguments().texts(columns.room_ids).texts(columns.user_ids));
    });
}

std::uint64_t Apply::remove_joined_rooms(std::span<const std::string_view> room_ids) {
    remove_joined_rooms_.run(Arguments().texts(room_ids));
    return remove_joined_rooms_.processed();
}

std::uint64_t Apply::remove_memberships(std::span<const MembershipKey> keys) {
    const MembershipKeyColumns columns(keys);
    remove_memberships_.run(Arguments().texts(columns.room_ids).texts(columns.user_ids));
    return remove_memberships_.processed();
}

std::uint64_t Apply::remove_all() {
    std::uint64_t removed = 0;
    if (has_joined_rooms_) {
        remove_all_joined_rooms_.run(Arguments());
        removed += remove_all_joined_rooms_.processed();
    }
    if (has_membership_snapshots_) {
        remove_all_memberships_.run(Arguments());
        removed += remove_all_memberships_.processed();
    }
    return removed;
}

std::vector<MembershipKey> Apply::remove_memberships_of_event(std::string_view event_id) {
    return first_two_columns(remove_memberships_of_event_.run(Arguments().text(event_id)));
}

std::vector<MembershipKey> Apply::remove_room(std::string_view room_id) {
    std::vector<MembershipKey> keys;
    const std::array<std::string_view, 1> room_ids{room_id};
    if (has_joined_rooms_) {
        remove_joined_rooms(room_ids);
    }
    if (has_membership_snapshots_) {
        keys = first_two_columns(remove_memberships_of_room_.run(Arguments().text(room_id)));
    }
    if (has_recalculate_queue_) {
        remove_queue_of_room_.run(Arguments().text(room_id));
    }
    return keys;
}

}  // namespace sliding_sync
