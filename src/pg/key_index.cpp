#include "pg/key_index.hpp"

#include "pg/catalog.hpp"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
}

namespace sliding_sync {

namespace {

// As the planner judges indexes.
bool is_usable(Relation index) {
    const Form_pg_index form = index->rd_index;
    return form->indisvalid && form->indisready && RelationGetIndexPredicate(index) == NIL &&
           (!form->indcheckxmin ||
            TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data), TransactionXmin));
}

bool is_comparable(const FormData_pg_attribute& attribute, const KeyColumn& column, Relation index, int i) {
    const Oid family = index->rd_opfamily[i];
    return index->rd_indcollation[i] == attribute.attcollation &&
           (column.type == INT8OID ? attribute.atttypid == INT8OID && family == INTEGER_BTREE_FAM_OID
                                   : is_text(attribute.atttypid) && family == TEXT_BTREE_FAM_OID);
}

bool leads_with(Relation table, Relation index, std::span<const KeyColumn> key, KeyIndex& found) {
    const Form_pg_index form = index->rd_index;
    found.index = RelationGetRelid(index);
    std::size_t count = 0;
    for (int i = 0; i < form->indnkeyatts && count < key.size(); ++i) {
        const AttrNumber number = form->indkey.values[i];
        if (number <= 0) {
            return false;  // an expression
        }
        const FormData_pg_attribute& attribute = *TupleDescAttr(RelationGetDescr(table), number - 1);
        const std::size_t count_before = count;
        for (std::size_t column = 0; column < key.size(); ++column) {
            if (strcmp(NameStr(attribute.attname), key[column].name) != 0) {
                continue;
            }
            if (!is_comparable(attribute, key[column], index, i)) {
                return false;
            }
            found.keys[count] = column;
            found.index_columns[count++] = static_cast<AttrNumber>(i + 1);
        }
        if (count == count_before) {
            return false;
        }
    }
    return count == key.size();
}

}  // namespace

KeyOperator key_operator(const KeyColumn& column) noexcept {
    const bool is_number = column.type == INT8OID;
    switch (column.comparison) {
    case KeyComparison::at_least:
        return {">=", BTGreaterEqualStrategyNumber, is_number ? F_INT8GE : F_TEXT_GE};
    case KeyComparison::at_most:
        return {"<=", BTLessEqualStrategyNumber, is_number ? F_INT8LE : F_TEXT_LE};
    case KeyComparison::equal:
        break;
    }
    return {"=", BTEqualStrategyNumber, is_number ? F_INT8EQ : F_TEXTEQ};
}

KeyIndex find_key_index(PgFrame, Relation table, std::span<const KeyColumn> key) {
    Assert(CheckRelationLockedByMe(table, AccessShareLock, true) && !key.empty() &&
           key.size() <= max_key_columns);
    KeyIndex best;
    bool is_unique = false;
    int width = 0;
    List* const indexes = RelationGetIndexList(table);
    ListCell* cell = nullptr;
    foreach (cell, indexes) {
        Relation const index = index_open(lfirst_oid(cell), AccessShareLock);
        const Form_pg_index form = index->rd_index;
        KeyIndex found;
        if (is_usable(index) && leads_with(table, index, key, found) &&
            (!OidIsValid(best.index) || form->indisunique > is_unique ||
             (form->indisunique == is_unique && form->indnatts < width))) {
            best = found;
            is_unique = form->indisunique;
            width = form->indnatts;
        }
        index_close(index, NoLock);
    }
    list_free(indexes);
    watch_relation(best.index);
    return best;
}

bool is_text(Oid type) noexcept {
    return type == TEXTOID || type == VARCHAROID;
}

}  // namespace sliding_sync
