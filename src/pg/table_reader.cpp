#include "pg/table_reader.hpp"

#include "pg/fault_injection.hpp"

#include <exception>

extern "C" {
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
}

namespace sliding_sync {

namespace {

std::string select_text(const std::string& schema, const char* table, std::span<const KeyColumn> key,
                        const std::vector<const char*>& columns, const char* lock) {
    std::string text = "SELECT ";
    for (const char* const column : columns) {
        text += std::string(column == columns.front() ? "" : ", ") + column;
    }
    text += " FROM " + schema + "." + table;
    for (std::size_t i = 0; i < key.size(); ++i) {
        text += (i == 0 ? " WHERE " : " AND ") + std::string(key[i].name) + " OPERATOR(pg_catalog." +
                key_operator(key[i]).sql + ") $" + std::to_string(i + 1);
    }
    return text + lock;
}

std::vector<Oid> types_of(std::span<const KeyColumn> key) {
    std::vector<Oid> types;
    for (const KeyColumn& column : key) {
        types.push_back(column.type);
    }
    return types;
}

// A statement of this user would return the same rows, and the user may read them.
bool is_readable_as_it_is(Relation table) {
    const Form_pg_class form = table->rd_rel;
    return form->relkind == RELKIND_RELATION && !form->relrowsecurity && !form->relhassubclass &&
           (form->relowner == GetUserId() ||
            pg_class_aclcheck(RelationGetRelid(table), GetUserId(), ACL_SELECT) == ACLCHECK_OK);
}

// The types that a reader fetches itself.
bool is_fetched(Oid type) noexcept {
    return is_text(type) || type == INT8OID || type == INT4OID || type == BOOLOID;
}

bool may_lock(Oid relation, LockWait wait) {
    return wait == LockWait::wait || ConditionalLockRelationOid(relation, AccessShareLock);
}

// Those that may become the key's: looking at one locks it, too.
bool may_lock_indexes(Relation table, LockWait wait) {
    bool may = true;
    List* const indexes = RelationGetIndexList(table);
    ListCell* cell = nullptr;
    foreach (cell, indexes) {
        may = may && may_lock(lfirst_oid(cell), wait);
    }
    list_free(indexes);
    return may;
}

LookupScope* innermost = nullptr;

}  // namespace

LookupScope::LookupScope(SnapshotKind view)
    : view_(view), exceptions_(std::uncaught_exceptions()), outer_(innermost) {
    Assert(ActiveSnapshotSet());  // of the SpiConnection
    static std::uint64_t numbers = 0;
    number_ = ++numbers;
    call_pg([&](PgFrame frame) { push_snapshot(frame, view); });
    innermost = this;
}

LookupScope::~LookupScope() {
    Assert(innermost == this);
    innermost = outer_;
    // While an exception passes, the abort of the (sub)transaction closes what is open.
    if (std::uncaught_exceptions() == exceptions_) {
        for (TableReader* const reader : readers_) {
            if (reader->scope_ == number_) {
                reader->close();
            }
        }
        PopActiveSnapshot();
    }
}

bool LookupScope::is_open(std::uint64_t number) noexcept {
    for (const LookupScope* scope = innermost; scope != nullptr; scope = scope->outer_) {
        if (scope->number_ == number) {
            return true;
        }
    }
    return false;
}

TableReader::TableReader(const char* name, const Schema& schema, const char* table,
                         std::vector<KeyColumn> key, std::vector<const char*> columns)
    : name_(name), namespace_oid_(schema.namespace_oid), schema_name_(schema.name), table_name_(table),
      key_(std::move(key)), column_names_(std::move(columns)), columns_(column_names_.size()) {}

Rows TableReader::find(LookupScope& scope, std::initializer_list<KeyValue> key, std::size_t max_rows) {
    open(scope, LockWait::wait);
    if (is_by_index(scope)) {
        return call_pg([&](PgFrame frame) -> Rows { return lookup_.find(frame, key, max_rows); });
    }
    Rows rows = by_statement(statement_, "", scope, key);
    rows.count = std::min(rows.count, max_rows);
    return rows;
}

std::optional<Rows> TableReader::find_by_index(LookupScope& scope, std::initializer_list<KeyValue> key,
                                               std::size_t max_rows) {
    open(scope, LockWait::refuse);
    if (!is_by_index(scope)) {
        return std::nullopt;
    }
    return call_pg([&](PgFrame frame) -> Rows { return lookup_.find(frame, key, max_rows); });
}

Rows TableReader::lock(LookupScope& scope, std::initializer_list<KeyValue> key) {
    open(scope, LockWait::wait);
    if (is_by_index(scope)) {
        return call_pg([&](PgFrame frame) -> Rows { return lookup_.lock(frame, key); });
    }
    return by_statement(lock_statement_, " FOR NO KEY UPDATE", scope, key);
}

bool TableReader::is_by_index(const LookupScope& scope) const noexcept {
    return scope_ == scope.number_ && lookup_.is_open();
}

Rows TableReader::by_statement(std::optional<Statement>& statement, const char* lock,
                               const LookupScope& scope, std::initializer_list<KeyValue> key) {
    Assert(key.size() == key_.size());
    if (!statement) {
        statement.emplace(name_, select_text(schema_name_, table_name_, key_, column_names_, lock),
                          types_of(key_));
    }
    Arguments arguments;
    for (std::size_t i = 0; i < key_.size(); ++i) {
        const KeyValue& value = key.begin()[i];
        key_[i].type == INT8OID ? arguments.number(value.number) : arguments.text(value.text);
    }
    return statement->run(arguments, scope.view_);
}

// What is open belongs to one scope: code of the tables' owner that runs in its middle reads by the
// statement.
void TableReader::open(LookupScope& scope, LockWait wait) {
    Assert(LookupScope::is_open(scope.number_));
    if (scope_ == scope.number_ || LookupScope::is_open(scope_)) {
        return;
    }
    scope.readers_.push_back(this);
    table_ = nullptr;
    lookup_.forget();
    call_pg([&](PgFrame frame) { open_table(frame, wait); });
    scope_ = scope.number_;
}

void TableReader::open_table(PgFrame frame, LockWait wait) {
    inject_fault(frame, name_);
    if (generation_ != catalog_generation()) {
        table_oid_ = watched_relation(table_name_, namespace_oid_);
    }
    const bool is_at_hand = OidIsValid(table_oid_) && may_lock(table_oid_, wait);
    table_ = is_at_hand ? try_table_open(table_oid_, AccessShareLock) : nullptr;
    if (table_ == nullptr) {
        return;
    }
    // only now, with the table locked, the catalog stands still
    if (generation_ != catalog_generation()) {
        if (!may_lock_indexes(table_, wait)) {
            return;
        }
        watch_relation(table_oid_);
        generation_ = catalog_generation();
        key_index_ = find_columns() ? find_key_index(frame, table_, key_) : KeyIndex{};
    }
    if (!is_the_one()) {
        generation_ = 0;
    } else if (OidIsValid(key_index_.index) && is_readable_as_it_is(table_) &&
               may_lock(key_index_.index, wait)) {
        lookup_.open(frame, table_, key_index_, key_, columns_);
    }
}

// Nothing of this raises an error: it runs where one would jump over C++ frames.
void TableReader::close() noexcept {
    lookup_.close();
    if (table_ != nullptr) {
        table_close(table_, NoLock);
    }
    scope_ = 0;
}

// It may have been renamed while its lock was waited for.
bool TableReader::is_the_one() const {
    return RelationGetNamespace(table_) == namespace_oid_ &&
           strcmp(RelationGetRelationName(table_), table_name_) == 0;
}

// False when one is missing, or holds what a reader does not fetch itself.
bool TableReader::find_columns() {
    for (std::size_t i = 0; i < columns_.size(); ++i) {
        if (strcmp(column_names_[i], "xmin") == 0) {
            columns_[i] = {MinTransactionIdAttributeNumber, XIDOID};
            continue;
        }
        auto* const attribute = find_attribute(RelationGetDescr(table_), column_names_[i]);
        if (attribute == nullptr || !is_fetched(attribute->atttypid)) {
            return false;
        }
        columns_[i] = {attribute->attnum, attribute->atttypid};
    }
    return true;
}

}  // namespace sliding_sync
