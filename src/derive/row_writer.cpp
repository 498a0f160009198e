#include "derive/row_writer.hpp"

#include "pg/sql_text.hpp"
#include "pg/transaction.hpp"

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
Arguments& add_booleans(Arguments& arguments, const std::vector<const Row*>& rows, Field field) {
    const auto values = std::make_unique<bool[]>(rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
        values[i] = field(*rows[i]);
    }
    return arguments.booleans({values.get(), rows.size()});
}

template <typename Row, typename Field>
Arguments& add_texts(Arguments& arguments, const std::vector<const Row*>& rows, Field field) {
    std::vector<OptionalText> values;
    values.reserve(rows.size());
    for (const Row* const row : rows) {
        values.push_back(field(*row));
    }
    return arguments.texts(values);
}

template <typename Row, typename Field>
Arguments& add_numbers(Arguments& arguments, const std::vector<const Row*>& rows, Field field) {
    std::vector<OptionalNumber> values;
    values.reserve(rows.size());
    for (const Row* const row : rows) {
        values.push_back(field(*row));
    }
    return arguments.numbers(values);
}

template <typename Row>
void add_state(Arguments& arguments, const std::vector<const Row*>& rows) {
    add_texts(arguments, rows, [](const Row& row) { return view(row.state.room_type); });
    add_texts(arguments, rows, [](const Row& row) { return view(row.state.room_name); });
    add_booleans(arguments, rows, [](const Row& row) { return row.state.is_encrypted; });
    add_texts(arguments, rows, [](const Row& row) { return view(row.state.tombstone_successor_room_id); });
}

Arguments joined_room_arguments(const std::vector<const rules::JoinedRoom*>& rows) {
    using Row = rules::JoinedRoom;
    Arguments arguments(rows.size());
    add_texts(arguments, rows, [](const Row& row) { return OptionalText(row.room_id); });
    add_numbers(arguments, rows, [](const Row& row) { return OptionalNumber(row.event_stream_ordering); });
    add_numbers(arguments, rows, [](const Row& row) { return row.bump_stamp; });
    add_state(arguments, rows);
    return arguments;
}

Arguments membership_arguments(const std::vector<const rules::MembershipSnapshot*>& rows) {
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

}  // namespace

void JoinedRoomChanges::add(std::string_view room_id, const std::optional<rules::JoinedRoom>& stored,
                            const std::optional<rules::JoinedRoom>& expected) {
    if (stored == expected) {
        return;
    }
    if (!expected) {
        remove.push_back(room_id);
    } else if (!stored) {
        insert.push_back(&*expected);
    } else if (expected->event_stream_ordering < stored->event_stream_ordering) {
        update.insert(update.begin() + static_cast<std::ptrdiff_t>(giving_up++), &*expected);
    } else {
        update.push_back(&*expected);
    }
}

void MembershipChanges::add(const MembershipKey& key, const std::optional<rules::MembershipSnapshot>& stored,
                            const std::optional<rules::MembershipSnapshot>& expected) {
    if (stored == expected) {
        return;
    }
    if (!expected) {
        remove.push_back(key);
    } else {
        (stored ? update : insert).push_back(&*expected);
    }
}

void require_written(std::size_t written, std::size_t expected, const char* table) {
    if (written != expected) {
        const std::string detail = "Of " + std::to_string(expected) + " rows of table \"" + table + "\", " +
                                   std::to_string(written) + " were written.";
        call_pg([&] {
            raise_pg_error(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION,
                           "a trigger or rule keeps sliding_sync from writing derived rows", detail.c_str(),
                           "Remove it, then call sliding_sync.repair_quarantine().");
        });
    }
}

RowWriter::RowWriter(const HomeserverSchema& s)
    : has_joined_rooms_(s.joined_rooms != TableShape::missing),
      has_membership_snapshots_(s.membership_snapshots != TableShape::missing),
      has_recalculate_queue_(s.has_recalculate_queue),
      raise_("advance_orderings",
             sql_text("UPDATE %S.sliding_sync_joined_rooms j SET "
                      "event_stream_ordering = GREATEST(j.event_stream_ordering, $2), "
                      "bump_stamp = GREATEST(j.bump_stamp, $3) WHERE j.room_id %= $1 AND "
                      "(j.event_stream_ordering %< $2 OR j.bump_stamp %< $3 OR "
                      "(j.bump_stamp IS NULL AND $3 IS NOT NULL))",
                      s.name),
             {TEXTOID, INT8OID, INT8OID}),
      stored_orderings_("stored_orderings", s, joined_rooms_table, {{"room_id", TEXTOID}},
                        {"xmin", "event_stream_ordering", "bump_stamp"}),
      holders_("holders_of_new_ordering", s, joined_rooms_table, {{"event_stream_ordering", INT8OID}},
               {"room_id"}),
      insert_joined_rooms_("insert_joined_rooms",
                           "INSERT INTO %S.sliding_sync_joined_rooms (" + std::string(joined_room_columns) +
                               ") SELECT " + std::string(joined_room_columns) +
                               " FROM {rows} ON CONFLICT (room_id) DO NOTHING",
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
                              " FROM {rows} ON CONFLICT (room_id, user_id) DO NOTHING",
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
      remove_all_joined_rooms_("remove_all_joined_rooms",
                               sql_text("DELETE FROM %S.sliding_sync_joined_rooms", s.name), {}),
      remove_all_memberships_("remove_all_memberships",
                              sql_text("DELETE FROM %S.sliding_sync_membership_snapshots", s.name), {}),
      remove_joined_room_(
          "remove_joined_room",
          sql_text("DELETE FROM %S.sliding_sync_joined_rooms j WHERE j.room_id %= $1", s.name), {TEXTOID}),
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

// A row that this transaction has written is safe from others; any other one may be changed the next moment.
RowWriter::Raised RowWriter::look_at(const OrderingAdvance& room) {
    LookupScope scope;
    const Rows rows = stored_orderings_.find(scope, {room.room_id});
    if (rows.count == 0) {
        return Raised::look_closer;
    }
    const auto row = rows[0];
    const bool is_raised = row[1].number >= room.latest && row[2].optional_number() >= room.latest_bump;
    if (!written_by_this_transaction(static_cast<std::uint32_t>(row[0].number))) {
        return is_raised ? Raised::look_closer : Raised::not_yet;
    }
    return room.may_be_written ? Raised::look_closer : is_raised ? Raised::yes : Raised::not_yet;
}

// A wrong row of another room would make the UPDATE fail.
bool RowWriter::is_held_by_another(const OrderingAdvance& room) {
    LookupScope scope;
    const Rows rows = holders_.find(scope, {room.latest});
    return rows.count > 0 && rows[0][0].text() != room.room_id;
}

std::optional<std::uint64_t> RowWriter::advance_orderings(const OrderingAdvance& room) {
    Raised raised = look_first_ || room.may_be_written ? look_at(room) : Raised::not_yet;
    if (raised == Raised::not_yet && is_held_by_another(room)) {
        return std::nullopt;
    }
    if (raised == Raised::not_yet) {
        raise_.run(Arguments().text(room.room_id).number(room.latest).number(room.latest_bump));
        look_first_ = raise_.processed() == 0;
        if (!look_first_) {
            return 1;
        }
        raised = look_at(room);
    }
    return raised == Raised::yes ? std::optional<std::uint64_t>(0) : std::nullopt;
}

std::uint64_t RowWriter::joined_rooms(const JoinedRoomChanges& changes) {
    if (!changes.remove.empty()) {
        require_written(remove_joined_rooms(changes.remove), changes.remove.size(), joined_rooms_table);
    }
    if (!changes.update.empty()) {
        update_joined_rooms_.run(joined_room_arguments(changes.update));
        require_written(update_joined_rooms_.processed(), changes.update.size(), joined_rooms_table);
    }
    if (!changes.insert.empty()) {
        insert_joined_rooms_.run(joined_room_arguments(changes.insert));
        require_written(insert_joined_rooms_.processed(), changes.insert.size(), joined_rooms_table);
    }
    return changes.remove.size() + changes.update.size() + changes.insert.size();
}

std::uint64_t RowWriter::memberships(const MembershipChanges& changes) {
    if (!changes.remove.empty()) {
        require_written(remove_memberships(changes.remove), changes.remove.size(),
                        membership_snapshots_table);
    }
    if (!changes.update.empty()) {
        update_memberships_.run(membership_arguments(changes.update));
        require_written(update_memberships_.processed(), changes.update.size(), membership_snapshots_table);
    }
    if (!changes.insert.empty()) {
        insert_memberships_.run(membership_arguments(changes.insert));
        require_written(insert_memberships_.processed(), changes.insert.size(), membership_snapshots_table);
    }
    return changes.remove.size() + changes.update.size() + changes.insert.size();
}

std::uint64_t RowWriter::remove_joined_rooms(std::span<const std::string_view> room_ids) {
    remove_joined_rooms_.run(Arguments().texts(room_ids));
    return remove_joined_rooms_.processed();
}

std::uint64_t RowWriter::remove_memberships(std::span<const MembershipKey> keys) {
    const MembershipKeyColumns columns(keys);
    remove_memberships_.run(Arguments().texts(columns.room_ids).texts(columns.user_ids));
    return remove_memberships_.processed();
}

std::uint64_t RowWriter::remove_all() {
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

std::vector<MembershipKey> RowWriter::remove_room(std::string_view room_id) {
    std::vector<MembershipKey> keys;
    if (has_joined_rooms_) {
        remove_joined_room_.run(Arguments().text(room_id));
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
