#include "pg/cell.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "storage/itemptr.h"
#include "utils/builtins.h"
}

namespace sliding_sync {

void Rows::refuse_missing_row() {
    throw Error(
        ERRCODE_NO_DATA_FOUND, "a statement of sliding_sync did not return the row that it must return",
        "A trigger or a rule on one of its tables, or another function in its schema, keeps the row back.",
        "Remove what was added to the tables and functions of schema sliding_sync.");
}

Cell cell_of(PgFrame, Datum value, Oid type) {
    Cell cell{nullptr, 0, 0, false};
    switch (type) {
    case TEXTOID:
    case VARCHAROID: {
        auto* text = reinterpret_cast<struct varlena*>(PG_DETOAST_DATUM_PACKED(value));
        cell.data = VARDATA_ANY(text);
        cell.size = VARSIZE_ANY_EXHDR(text);
        break;
    }
    case NAMEOID:
        cell.data = NameStr(*DatumGetName(value));
        cell.size = strlen(cell.data);
        break;
    case INT8OID:
        cell.number = DatumGetInt64(value);
        break;
    case INT4OID:
        cell.number = DatumGetInt32(value);
        break;
    case INT2OID:
        cell.number = DatumGetInt16(value);
        break;
    case BOOLOID:
        cell.number = DatumGetBool(value) ? 1 : 0;
        break;
    case OIDOID:
    case XIDOID:
        cell.number = DatumGetUInt32(value);
        break;
    case TIDOID: {
        auto* const place = reinterpret_cast<ItemPointer>(DatumGetPointer(value));
        cell.number = (static_cast<std::int64_t>(ItemPointerGetBlockNumber(place)) << 16) |
                      ItemPointerGetOffsetNumber(place);
        break;
    }
    default:
        raise_pg_error(ERRCODE_INTERNAL_ERROR, "sliding_sync: a column has an unexpected type",
                       psprintf("Its type is %s.", format_type_be(type)));
    }
    return cell;
}

}  // namespace sliding_sync
