// What a call from SQL brings, and what it gets back. The SQL may be of another version than the library, as
// between the installation of new files and ALTER EXTENSION: nothing is read or returned that is not declared
// as what it is here.
#pragma once

#include "guard/boundary.hpp"

extern "C" {
#include "catalog/pg_type_d.h"
#include "fmgr.h"
}

namespace sliding_sync {

// Arguments by their place, from 0 on. One that is declared otherwise is refused (42P13); NULL is nothing.
[[nodiscard]] std::optional<std::string> text_argument(FunctionCallInfo call, int number);
[[nodiscard]] std::optional<std::int64_t> number_argument(FunctionCallInfo call, int number);
[[nodiscard]] std::optional<double> real_argument(FunctionCallInfo call, int number);
[[nodiscard]] std::optional<bool> boolean_argument(FunctionCallInfo call, int number);
/// The elements of an array of text, of any dimension, in their order.
using TextList = std::vector<std::optional<std::string>>;
[[nodiscard]] std::optional<TextList> text_list_argument(FunctionCallInfo call, int number);
/// An interval in seconds, months counted as 30 days.
[[nodiscard]] std::optional<double> seconds_argument(FunctionCallInfo call, int number);

/// A value of the row that a function returns.
struct ResultColumn {
    Oid type;
    Datum value;
    bool is_null = false;
};

[[nodiscard]] inline ResultColumn number_column(std::uint64_t number, bool is_null = false) noexcept {
    return {INT8OID, Int64GetDatum(static_cast<std::int64_t>(number)), is_null};
}
[[nodiscard]] inline ResultColumn boolean_column(bool value) noexcept {
    return {BOOLOID, BoolGetDatum(value), false};
}
[[nodiscard]] inline ResultColumn real_column(double value, bool is_null) noexcept {
    return {FLOAT8OID, Float8GetDatum(value), is_null};
}

/// Of a function that returns void.
[[nodiscard]] Datum void_result(FunctionCallInfo call);
[[nodiscard]] Datum text_result(FunctionCallInfo call, const std::string& text);
[[nodiscard]] Datum row_result(FunctionCallInfo call, std::span<const ResultColumn> columns);

/// Refuses a result that is declared as another type (42P13).
void require_result_type(FunctionCallInfo call, Oid type);

/// Refuses a result that is declared with another number of columns (42P13).
void require_columns(int declared, std::size_t expected);

}  // namespace sliding_sync
