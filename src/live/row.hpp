// The rows that a trigger is fired for, read by column name. C calls only, no guard: for code that runs once
// a row.
#pragma once

#include "pg/catalog.hpp"

extern "C" {
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "utils/datum.h"
#include "utils/rel.h"
}

namespace sliding_sync {

// A row of the trigger's relation, read by column name. Text stays in the row's own memory.
template <std::size_t count>
class Row {
public:
    Row(TupleTableSlot* slot, const std::array<AttrNumber, count>& columns) noexcept
        : slot_(slot), columns_(columns) {}

    [[nodiscard]] bool has(std::size_t column) const noexcept {
        return columns_[column] != InvalidAttrNumber;
    }

    // A column that does not exist reads as NULL.
    [[nodiscard]] NullableDatum value(std::size_t column) const {
        NullableDatum result{0, true};
        if (has(column)) {
            result.value = slot_getattr(slot_, columns_[column], &result.isnull);
        }
        return result;
    }
    [[nodiscard]] bool is_null(std::size_t column) const {
        return value(column).isnull;
    }
    [[nodiscard]] std::string_view text(std::size_t column) const {
        const NullableDatum datum = value(column);
        if (datum.isnull) {
            return {};
        }
        auto* const text = reinterpret_cast<struct varlena*>(PG_DETOAST_DATUM_PACKED(datum.value));
        return {VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text)};
    }
    [[nodiscard]] bool boolean(std::size_t column) const {
        const NullableDatum datum = value(column);
        return !datum.isnull && DatumGetBool(datum.value);
    }
    [[nodiscard]] std::int64_t number(std::size_t column) const {
        return DatumGetInt64(value(column).value);
    }

    [[nodiscard]] bool differs(const Row& other, std::size_t column) const {
        if (!has(column)) {
            return false;
        }
        const NullableDatum mine = value(column);
        const NullableDatum theirs = other.value(column);
        if (mine.isnull || theirs.isnull) {
            return mine.isnull != theirs.isnull;
        }
        const auto* const attribute = TupleDescAttr(slot_->tts_tupleDescriptor, columns_[column] - 1);
        return !datum_image_eq(mine.value, theirs.value, attribute->attbyval, attribute->attlen);
    }

private:
    TupleTableSlot* slot_;
    const std::array<AttrNumber, count>& columns_;
};

// The rows a trigger gives: before and after the change.
template <std::size_t count>
struct Change {
    std::optional<Row<count>> before;
    std::optional<Row<count>> after;
};

template <std::size_t count>
Change<count> read_change(const TriggerData& trigger, const ColumnNumbers<count>& columns) {
    Change<count> change;
    if (TRIGGER_FIRED_BY_INSERT(trigger.tg_event)) {
        change.after.emplace(trigger.tg_trigslot, columns.numbers);
    } else if (TRIGGER_FIRED_BY_DELETE(trigger.tg_event)) {
        change.before.emplace(trigger.tg_trigslot, columns.numbers);
    } else {
        change.before.emplace(trigger.tg_trigslot, columns.numbers);
        change.after.emplace(trigger.tg_newslot, columns.numbers);
    }
    return change;
}

}  // namespace sliding_sync
