#include "pg/sql_call.hpp"

extern "C" {
#include "access/htup_details.h"
#include "datatype/timestamp.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
}

namespace sliding_sync {

namespace {

[[noreturn]] void refuse_declaration(const std::string& detail) {
    throw Error(ERRCODE_INVALID_FUNCTION_DEFINITION,
                "the function is declared otherwise than the library of sliding_sync expects", detail,
                "Library and SQL are of different versions: run ALTER EXTENSION sliding_sync UPDATE, and "
                "reconnect.");
}

bool is_null(FunctionCallInfo call, int number, Oid type) {
    const Oid declared = call_pg([&]() -> Oid {
        // what the caller's statement passes tells it without the catalog
        if (number < call->nargs && get_fn_expr_argtype(call->flinfo, number) == type) {
            return type;
        }
        Oid* types = nullptr;
        int count = 0;
        get_func_signature(call->flinfo->fn_oid, &types, &count);
        return number < count && number < call->nargs ? types[number] : InvalidOid;
    });
    if (declared != type) {
        refuse_declaration("Argument " + std::to_string(number + 1) + " is missing or has another type.");
    }
    return call->args[number].isnull;
}

}  // namespace

std::optional<std::string> text_argument(FunctionCallInfo call, int number) {
    if (is_null(call, number, TEXTOID)) {
        return std::nullopt;
    }
    return std::string(
        call_pg([&]() -> const char* { return text_to_cstring(DatumGetTextPP(call->args[number].value)); }));
}

std::optional<std::int64_t> number_argument(FunctionCallInfo call, int number) {
    return is_null(call, number, INT8OID)
               ? std::nullopt
               : std::optional<std::int64_t>(DatumGetInt64(call->args[number].value));
}

std::optional<double> real_argument(FunctionCallInfo call, int number) {
    return is_null(call, number, FLOAT8OID) ? std::nullopt
                                            : std::optional<double>(DatumGetFloat8(call->args[number].value));
}

std::optional<bool> boolean_argument(FunctionCallInfo call, int number) {
    return is_null(call, number, BOOLOID) ? std::nullopt
                                          : std::optional<bool>(DatumGetBool(call->args[number].value));
}

std::optional<TextList> text_list_argument(FunctionCallInfo call, int number) {
    if (is_null(call, number, TEXTARRAYOID)) {
        return std::nullopt;
    }
    Datum* elements = nullptr;
    bool* nulls = nullptr;
    int count = 0;
    call_pg([&] {
        deconstruct_array(DatumGetArrayTypeP(call->args[number].value), TEXTOID, -1, false, TYPALIGN_INT,
                          &elements, &nulls, &count);
        for (int i = 0; i < count; ++i) {
            elements[i] = nulls[i] ? elements[i] : PointerGetDatum(DatumGetTextPP(elements[i]));
        }
    });
    TextList list;
    for (int i = 0; i < count; ++i) {
        auto* const text = static_cast<varlena*>(static_cast<void*>(DatumGetPointer(elements[i])));
        list.push_back(
            nulls[i] ? std::nullopt
                     : std::optional<std::string>(std::in_place, VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text)));
    }
    return list;
}

std::optional<double> seconds_argument(FunctionCallInfo call, int number) {
    if (is_null(call, number, INTERVALOID)) {
        return std::nullopt;
    }
    const Interval& interval = *DatumGetIntervalP(call->args[number].value);
    return static_cast<double>(interval.time) / USECS_PER_SEC +
           (static_cast<double>(interval.day) + static_cast<double>(interval.month) * DAYS_PER_MONTH) *
               SECS_PER_DAY;
}

Datum void_result(FunctionCallInfo call) {
    if (call_pg([&] { return get_func_rettype(call->flinfo->fn_oid); }) != VOIDOID) {
        refuse_declaration("The result must be of type void.");
    }
    return Datum{0};
}

Datum text_result(FunctionCallInfo call, const std::string& text) {
    require_result_type(call, TEXTOID);
    return call_pg([&] {
        return PointerGetDatum(cstring_to_text_with_len(text.data(), static_cast<int>(text.size())));
    });
}

Datum row_result(FunctionCallInfo call, std::span<const ResultColumn> columns) {
    TupleDesc const description = call_pg([&]() -> TupleDesc {
        TupleDesc found = nullptr;
        return get_call_result_type(call, nullptr, &found) == TYPEFUNC_COMPOSITE ? BlessTupleDesc(found)
                                                                                 : nullptr;
    });
    require_columns(description != nullptr ? description->natts : 0, columns.size());
    std::vector<Datum> values;
    std::unique_ptr<bool[]> const nulls(new bool[columns.size()]);
    for (const ResultColumn& column : columns) {
        if (TupleDescAttr(description, values.size())->atttypid != column.type) {
            refuse_declaration("Column " + std::to_string(values.size() + 1) + " has another type.");
        }
        nulls[values.size()] = column.is_null;
        values.push_back(column.value);
    }
    return call_pg([&]() -> Datum {
        return HeapTupleGetDatum(heap_form_tuple(description, values.data(), nulls.get()));
    });
}

void require_result_type(FunctionCallInfo call, Oid type) {
    if (call_pg([&] { return get_func_rettype(call->flinfo->fn_oid); }) != type) {
        refuse_declaration(std::string("The result must be of type ") +
                           call_pg([&]() -> const char* { return format_type_be(type); }) + ".");
    }
}

void require_columns(int declared, std::size_t expected) {
    if (declared != static_cast<int>(expected)) {
        refuse_declaration("The result must have " + std::to_string(expected) + " columns.");
    }
}

}  // namespace sliding_sync
