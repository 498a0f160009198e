#include "derive/derived_table.hpp"

#include "derive/own_deletes.hpp"

#include "derive/derived_table_sql.hpp"
#include "pg/transaction.hpp"
#include "shared/sql_text.hpp"

namespace sliding_sync {

namespace {

// -- from cells

void take(std::string& value, const Cell& cell) {
    value = cell.text();
}
void take(std::optional<std::string>& value, const Cell& cell) {
    value = cell.optional_text();
}
void take(std::int64_t& value, const Cell& cell) {
    value = cell.number;
}
void take(std::optional<std::int64_t>& value, const Cell& cell) {
    value = cell.optional_number();
}
void take(std::int32_t& value, const Cell& cell) {
    value = static_cast<std::int32_t>(cell.number);
}
void take(bool& value, const Cell& cell) {
    value = cell.boolean();
}

void set_key(rules::JoinedRoom& row, std::string_view key) {
    row.room_id = key;
}
void set_key(rules::MembershipSnapshot& row, const MembershipKey& key) {
    row.room_id = key.room_id;
    row.user_id = key.user_id;
}

// Of the columns that a reader is asked for: xmin, and those that are no key.
template <typename Table>
typename Table::Row row_of(const typename Table::Key& key, std::span<const Cell> cells) {
    typename Table::Row row;
    set_key(row, key);
    std::size_t next = 1;
    for_each_column<Table>([&](const auto& column, const SqlType&) {
        if (column.role != ColumnRole::key) {
            take(column.field(row), cells[next++]);
        }
    });
    return row;
}

void take_key(std::string_view& key, std::span<const Cell> cells) {
    key = cells[0].text();
}
void take_key(MembershipKey& key, std::span<const Cell> cells) {
    key = {cells[0].text(), cells[1].text()};
}

// -- to parameters

std::optional<std::string_view> text_of(const std::string& value) {
    return value;
}
std::optional<std::string_view> text_of(const std::optional<std::string>& value) {
    return value ? std::optional<std::string_view>(*value) : std::nullopt;
}
std::optional<std::int64_t> number_of(const std::optional<std::int64_t>& value) {
    return value;
}

template <typename Row, typename Field>
void add_column(Arguments& arguments, const std::vector<const Row*>& rows, const Field& field) {
    using Value = std::remove_cvref_t<decltype(field(*rows.front()))>;
    if constexpr (std::is_same_v<Value, bool>) {
        // a plain array: std::vector<bool> has no contiguous elements
        const auto values = std::make_unique<bool[]>(rows.size());
        std::transform(rows.begin(), rows.end(), values.get(), [&](const Row* row) { return field(*row); });
        arguments.booleans({values.get(), rows.size()});
    } else if constexpr (sql_type<Value>().parameter == INT8OID) {
        std::vector<std::optional<std::int64_t>> values;
        std::transform(rows.begin(), rows.end(), std::back_inserter(values),
                       [&](const Row* row) { return number_of(field(*row)); });
        arguments.numbers(values);
    } else {
        std::vector<std::optional<std::string_view>> values;
        std::transform(rows.begin(), rows.end(), std::back_inserter(values),
                       [&](const Row* row) { return text_of(field(*row)); });
        arguments.texts(values);
    }
}

template <typename Table>
Arguments row_arguments(const std::vector<const typename Table::Row*>& rows) {
    Arguments arguments(rows.size());
    for_each_column<Table>(
        [&](const auto& column, const SqlType&) { add_column(arguments, rows, column.field); });
    return arguments;
}

Arguments key_arguments(std::span<const std::string_view> room_ids) {
    return std::move(Arguments().texts(room_ids));
}
Arguments key_arguments(std::span<const MembershipKey> keys) {
    std::vector<std::string_view> room_ids;
    std::vector<std::string_view> user_ids;
    for (const MembershipKey& key : keys) {
        room_ids.push_back(key.room_id);
        user_ids.push_back(key.user_id);
    }
    return std::move(Arguments().texts(room_ids).texts(user_ids));
}

IsToBeDeleted to_be_deleted(std::span<const std::string_view> room_ids) {
    return one_of(room_ids, [](std::string_view key, std::string_view room_id, std::string_view) {
        return key == room_id;
    });
}
IsToBeDeleted to_be_deleted(std::span<const MembershipKey> keys) {
    return one_of(keys, [](const MembershipKey& key, std::string_view room_id, std::string_view user_id) {
        return key.room_id == room_id && key.user_id == user_id;
    });
}

Rows find_by_key(TableReader& reader, LookupScope& scope, std::string_view room_id) {
    return reader.find(scope, {room_id});
}
Rows find_by_key(TableReader& reader, LookupScope& scope, const MembershipKey& key) {
    return reader.find(scope, {key.room_id, key.user_id});
}
Rows lock_by_key(TableReader& reader, LookupScope& scope, std::string_view room_id) {
    return reader.lock(scope, {room_id});
}
Rows lock_by_key(TableReader& reader, LookupScope& scope, const MembershipKey& key) {
    return reader.lock(scope, {key.room_id, key.user_id});
}

std::uint32_t hash_of(std::string_view room_id) {
    return key_hash(room_id);
}
std::uint32_t hash_of(const MembershipKey& key) {
    return 31 * key_hash(key.room_id) + key_hash(key.user_id);
}

Arguments reference_arguments(const rules::JoinedRoom& row) {
    return std::move(Arguments().number(row.event_stream_ordering).text(row.room_id));
}
Arguments reference_arguments(const rules::MembershipSnapshot& row) {
    return std::move(
        Arguments().number(row.event_stream_ordering).text(row.room_id).text(row.membership_event_id));
}

}  // namespace

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

template <typename Table>
void RowChanges<Table>::add(const typename Table::Key& key, const std::optional<Row>& stored,
                            const std::optional<Row>& expected) {
    if (stored == expected) {
        return;
    }
    if (!expected) {
        remove.push_back(key);
    } else if (!stored) {
        insert.push_back(&*expected);
    } else if (expected->event_stream_ordering < stored->event_stream_ordering) {
        update.insert(update.begin() + static_cast<std::ptrdiff_t>(giving_up++), &*expected);
    } else {
        update.push_back(&*expected);
    }
}

template <typename Table>
DerivedTable<Table>::DerivedTable(const HomeserverSchema& s)
    : rows_(Table::names.rows, s, Table::name, key_columns<Table>(), read_columns<Table>()),
      orderings_(Table::names.with_ordering, s, Table::name, {{"event_stream_ordering", INT8OID}},
                 column_names<Table>(true, false)),
      references_(Table::names.references, sql_text(references_text<Table>(), s.name),
                  Table::key_columns == 1 ? std::vector<Oid>{INT8OID, TEXTOID}
                                          : std::vector<Oid>{INT8OID, TEXTOID, TEXTOID}),
      insert_(Table::names.insert, insert_text<Table>(), s.name, parameter_rows<Table>()),
      update_(Table::names.update, update_text<Table>(), s.name, parameter_rows<Table>()),
      remove_(Table::names.remove, sql_text(remove_text<Table>(), s.name),
              std::vector<Oid>(Table::key_columns, TEXTARRAYOID)),
      remove_all_(Table::names.remove_all, sql_text(std::string("DELETE FROM %S.") + Table::name, s.name),
                  {}),
      namespace_oid_(s.namespace_oid) {}

template <typename Table>
std::optional<typename Table::Row> DerivedTable<Table>::find(LookupScope& scope, const Key& key) {
    const Rows rows = find_by_key(rows_, scope, key);
    return rows.count > 0 ? std::optional<Row>(row_of<Table>(key, rows[0])) : std::nullopt;
}

template <typename Table>
Stored<Table> DerivedTable<Table>::stored_row(const Key& key, const Rows& rows) {
    if (rows.count == 0) {
        return {};
    }
    return {written_by_this_transaction(static_cast<std::uint32_t>(rows[0][0].number)),
            row_of<Table>(key, rows[0])};
}

template <typename Table>
std::vector<Stored<Table>> DerivedTable<Table>::stored(std::span<const Key> keys) {
    std::vector<Stored<Table>> result;
    LookupScope scope;
    for (const Key& key : keys) {
        result.push_back(stored_row(key, find_by_key(rows_, scope, key)));
    }
    return result;
}

// Of two that look at a key without a row, the second one comes here when the first one's changes can be
// seen, or has its row to meet. A row of this transaction may have been inserted by a writer that locks no
// keys.
template <typename Table>
std::vector<Stored<Table>> DerivedTable<Table>::lock(std::span<const Key> keys, KeyLocks* locks) {
    Assert(std::is_sorted(keys.begin(), keys.end()));
    std::vector<Stored<Table>> result;
    LookupScope scope;
    for (std::size_t i = 0; i < keys.size(); ++i) {
        result.push_back(stored_row(keys[i], lock_by_key(rows_, scope, keys[i])));
        if (locks != nullptr && (!result.back().row || result.back().written_by_this_transaction)) {
            locks->acquire(Table::lock_number, hash_of(keys[i]), i);
            result.back() = stored_row(keys[i], lock_by_key(rows_, scope, keys[i]));
        }
    }
    return result;
}

template <typename Table>
std::vector<typename Table::Key> DerivedTable<Table>::with_ordering(std::int64_t event_stream_ordering) {
    LookupScope scope;
    const Rows rows = orderings_.find(scope, {event_stream_ordering});
    std::vector<Key> keys(rows.count);
    for (std::size_t i = 0; i < rows.count; ++i) {
        take_key(keys[i], rows[i]);
    }
    return keys;
}

template <typename Table>
bool DerivedTable<Table>::can_be_referred_to(const Row& row) {
    return references_.run(reference_arguments(row), SnapshotKind::transaction)[0][0].boolean();
}

template <typename Table>
std::uint64_t DerivedTable<Table>::write(const RowChanges<Table>& changes) {
    if (!changes.remove.empty()) {
        require_written(remove(changes.remove), changes.remove.size(), Table::name);
    }
    if (!changes.update.empty()) {
        update_.run(row_arguments<Table>(changes.update));
        require_written(update_.processed(), changes.update.size(), Table::name);
    }
    if (!changes.insert.empty()) {
        insert_.run(row_arguments<Table>(changes.insert));
        require_written(insert_.processed(), changes.insert.size(), Table::name);
    }
    return changes.remove.size() + changes.update.size() + changes.insert.size();
}

template <typename Table>
std::uint64_t DerivedTable<Table>::remove(std::span<const Key> keys) {
    const OwnDelete own(namespace_oid_, Table::key_columns == 1, to_be_deleted(keys));
    remove_.run(key_arguments(keys));
    return remove_.processed();
}

template <typename Table>
std::uint64_t DerivedTable<Table>::remove_all() {
    const OwnDelete own(namespace_oid_, Table::key_columns == 1,
                        [](std::string_view, std::string_view) { return true; });
    remove_all_.run(Arguments());
    return remove_all_.processed();
}

template class DerivedTable<JoinedRooms>;
template class DerivedTable<MembershipSnapshots>;
template struct RowChanges<JoinedRooms>;
template struct RowChanges<MembershipSnapshots>;

}  // namespace sliding_sync
