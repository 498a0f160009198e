#include "pg/key_scan.hpp"

#include "pg/catalog.hpp"
#include "pg/versions.hpp"

#include <exception>

extern "C" {
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_type.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
}

namespace sliding_sync {

namespace {

// A query of this user would see the same rows.
bool is_readable_as_it_is(PgFrame, Relation table) {
    const Oid oid = RelationGetRelid(table);
    return table->rd_rel->relkind == RELKIND_RELATION && !table->rd_rel->relhassubclass &&
           table->rd_tableam == GetHeapamTableAmRoutine() &&
           pg_class_aclcheck(oid, GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
           check_enable_rls(oid, InvalidOid, true) == RLS_NONE;
}

// Text is compared byte by byte here, which is what these collations call equal.
// A column that is computed at each reading (from PostgreSQL 18 on) is not there.
bool is_as_expected(PgFrame, const FormData_pg_attribute& attribute, Oid type) {
    constexpr char computed = 'v';
    if (attribute.attgenerated == computed) {
        return false;
    }
    return type == TEXTOID
               ? is_text(attribute.atttypid) && (attribute.attcollation == DEFAULT_COLLATION_OID ||
                                                 attribute.attcollation == C_COLLATION_OID)
               : attribute.atttypid == type;
}

std::string_view text_of(PgFrame, Datum value, bool is_null) {
    if (is_null) {
        return {};
    }
    auto* const packed = PG_DETOAST_DATUM_PACKED(value);
    return {VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed)};
}

}  // namespace

void ScannedTable::look_up(PgFrame, Oid namespace_oid) {
    if (generation_ != catalog_generation() || namespace_oid_ != namespace_oid) {
        namespace_oid_ = namespace_oid;
        table_oid_ = watched_relation(table_name_, namespace_oid);
        generation_ = 0;
    }
}

// It may have been renamed while its lock was waited for.
bool ScannedTable::is_the_one(Relation table) const noexcept {
    return RelationGetNamespace(table) == namespace_oid_ &&
           strcmp(RelationGetRelationName(table), table_name_) == 0;
}

bool ScannedTable::find_columns(PgFrame frame, Relation table) {
    for (std::size_t i = 0; i < columns_.size(); ++i) {
        auto* const attribute = find_attribute(RelationGetDescr(table), columns_[i].name);
        if (attribute == nullptr || !is_as_expected(frame, *attribute, columns_[i].type)) {
            return false;
        }
        numbers_[i] = attribute->attnum;
    }
    for (const KeyColumn& column : key_) {
        auto* const attribute = find_attribute(RelationGetDescr(table), column.name);
        if (attribute == nullptr || !is_as_expected(frame, *attribute, column.type)) {
            return false;
        }
    }
    return true;
}

bool ScannedTable::find_index(PgFrame frame, Relation table) {
    index_ = find_key_index(frame, table, key_);
    if (!OidIsValid(index_.index) || !is_unique_) {
        return OidIsValid(index_.index);
    }
    Relation const index = index_open(index_.index, AccessShareLock);
    const Form_pg_index form = index->rd_index;
    const bool is_unique =
        form->indisunique && form->indimmediate && static_cast<std::size_t>(form->indnkeyatts) == key_.size();
    index_close(index, NoLock);
    return is_unique;
}

KeyScan::KeyScan(ScannedTable& table, Oid namespace_oid)
    : scanned_(table), exceptions_(std::uncaught_exceptions()) {
    call_pg([&](PgFrame frame) {
        scanned_.look_up(frame, namespace_oid);
        table_ =
            OidIsValid(scanned_.table_oid_) ? try_table_open(scanned_.table_oid_, AccessShareLock) : nullptr;
        if (table_ == nullptr) {
            return;
        }
        // only now, with the table locked, the catalog stands still
        if (scanned_.generation_ != catalog_generation()) {
            watch_relation(scanned_.table_oid_);
            const std::uint64_t generation = catalog_generation();
            if (!scanned_.is_the_one(table_) || !scanned_.find_columns(frame, table_) ||
                !scanned_.find_index(frame, table_)) {
                scanned_.generation_ = 0;
                return;
            }
            scanned_.generation_ = generation;
        }
        if (is_readable_as_it_is(frame, table_)) {
            begin(frame);
        }
    });
}

// Nothing of this raises an error: it runs where one would jump over C++ frames. While an exception passes,
// the abort of the (sub)transaction closes what is open.
KeyScan::~KeyScan() {
    if (std::uncaught_exceptions() != exceptions_) {
        return;
    }
    if (scan_ != nullptr) {
        index_endscan(scan_);
        if (walk_ != nullptr) {
            index_endscan(walk_);
        }
        ExecDropSingleTupleTableSlot(slot_);
        index_close(index_, NoLock);
    }
    if (table_ != nullptr) {
        table_close(table_, NoLock);
    }
}

void KeyScan::begin(PgFrame frame) {
    key_index_ = scanned_.index_;
    std::copy(scanned_.numbers_.begin(), scanned_.numbers_.end(), numbers_.begin());
    index_ = index_open(key_index_.index, AccessShareLock);
    slot_ = table_slot_create(table_, nullptr);
    for (std::size_t i = 0; i < scanned_.key_.size(); ++i) {
        const AttrNumber column = key_index_.index_columns[i];
        const bool is_number = scanned_.key_[key_index_.keys[i]].type == INT8OID;
        ScanKeyEntryInitialize(&keys_[i], 0, column, BTEqualStrategyNumber, InvalidOid,
                               index_->rd_indcollation[column - 1], is_number ? F_INT8EQ : F_TEXTEQ,
                               Datum{0});
    }
    const Oid collation = index_->rd_indcollation[0];
    is_in_order_of_bytes_ = is_order_of_bytes(frame, collation);
    // Nobody truncates the table while it is locked.
    pages_ = RelationGetNumberOfBlocks(table_);
    scan_ = versions::begin_index_scan(table_, index_, GetActiveSnapshot(), scanned_.key_.size());
}

void KeyScan::look_for(PgFrame, std::initializer_list<Datum> key) {
    for (std::size_t i = 0; i < scanned_.key_.size(); ++i) {
        keys_[i].sk_argument = key.begin()[key_index_.keys[i]];
    }
    index_rescan(scan_, keys_.data(), static_cast<int>(scanned_.key_.size()), nullptr, 0);
    current_ = scan_;
}

void KeyScan::walk(PgFrame) {
    if (walk_ == nullptr) {
        walk_ = versions::begin_index_scan(table_, index_, GetActiveSnapshot(), 0);
        walk_->xs_want_itup = true;
    }
    index_rescan(walk_, nullptr, 0, nullptr, 0);
    current_ = walk_;
}

bool KeyScan::next_entry(PgFrame) {
    CHECK_FOR_INTERRUPTS();
    ItemPointer const place = index_getnext_tid(current_, ForwardScanDirection);
    if (place == nullptr) {
        return false;
    }
    place_ = *place;
    return true;
}

std::string_view KeyScan::entry_text(PgFrame frame) {
    bool is_null = false;
    return text_of(frame, index_getattr(walk_->xs_itup, 1, walk_->xs_itupdesc, &is_null), is_null);
}

bool KeyScan::fetch(PgFrame, ItemPointerData place) {
    CHECK_FOR_INTERRUPTS();
    if (ItemPointerGetBlockNumberNoCheck(&place) >= pages_) {
        return false;
    }
    place_ = place;
    bool is_more = false;
    return table_index_fetch_tuple(scan_->xs_heapfetch, &place, scan_->xs_snapshot, slot_, &is_more, nullptr);
}

std::optional<std::int64_t> KeyScan::number(PgFrame frame, std::size_t column) {
    bool is_null = false;
    const Datum number = value(frame, column, is_null);
    return is_null ? std::nullopt
                   : std::optional<std::int64_t>(scanned_.columns_[column].type == INT8OID
                                                     ? DatumGetInt64(number)
                                                     : DatumGetInt32(number));
}

std::optional<bool> KeyScan::truth(PgFrame frame, std::size_t column) {
    bool is_null = false;
    const Datum truth = value(frame, column, is_null);
    return is_null ? std::nullopt : std::optional<bool>(DatumGetBool(truth));
}

std::string_view KeyScan::text(PgFrame frame, std::size_t column) {
    bool is_null = false;
    const Datum text = value(frame, column, is_null);
    return text_of(frame, text, is_null);
}

}  // namespace sliding_sync
