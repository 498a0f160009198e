#include "pg/spi.hpp"

#include "pg/fault_injection.hpp"
#include "pg/own_relations.hpp"
#include "pg/transaction.hpp"

#include <exception>

extern "C" {
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
}

namespace sliding_sync {

namespace {

Datum text_datum(PgFrame, std::string_view value) {
    return PointerGetDatum(cstring_to_text_with_len(value.data(), static_cast<int>(value.size())));
}

ArrayType* array_of(Datum* elements, bool* nulls, std::size_t count, Oid type) {
    int16 length = 0;
    bool by_value = false;
    char alignment = 0;
    switch (type) {
    case TEXTOID:
        length = -1;
        alignment = TYPALIGN_INT;
        break;
    case INT8OID:
        length = sizeof(int64);
        by_value = FLOAT8PASSBYVAL;
        alignment = TYPALIGN_DOUBLE;
        break;
    default:  // BOOLOID
        length = 1;
        by_value = true;
        alignment = TYPALIGN_CHAR;
        break;
    }
    int dimensions[1] = {static_cast<int>(count)};
    int lower_bounds[1] = {1};
    return construct_md_array(elements, nulls, 1, dimensions, lower_bounds, type, length, by_value,
                              alignment);
}

template <typename Value>
Datum array_datum(std::span<const Value> values, Oid type, Datum (*convert)(PgFrame, const Value&),
                  bool (*is_null)(const Value&)) {
    return call_pg([&](PgFrame frame) -> Datum {
        const std::size_t count = values.size();
        if (count == 0) {
            return PointerGetDatum(construct_empty_array(type));
        }
        auto* elements =
            static_cast<Datum*>(MemoryContextAllocHuge(CurrentMemoryContext, count * sizeof(Datum)));
        auto* nulls = static_cast<bool*>(MemoryContextAllocHuge(CurrentMemoryContext, count * sizeof(bool)));
        for (std::size_t i = 0; i < count; ++i) {
            nulls[i] = is_null(values[i]);
            elements[i] = nulls[i] ? Datum{0} : convert(frame, values[i]);
        }
        return PointerGetDatum(array_of(elements, nulls, count, type));
    });
}

}  // namespace

SpiConnection::SpiConnection() : exceptions_(std::uncaught_exceptions()) {
    call_pg([](PgFrame frame) {
        check_result(frame, SPI_connect(), "SPI_connect");
        // Reading toasted values after a statement needs a snapshot that is older than theirs.
        PushActiveSnapshot(has_fixed_snapshot() ? GetActiveSnapshot() : GetLatestSnapshot());
    });
}

SpiConnection::~SpiConnection() {
    // While an exception passes, the (sub)transaction is being aborted, and that closes the connection.
    if (std::uncaught_exceptions() == exceptions_) {
        PopActiveSnapshot();
        SPI_finish();
    }
}

Arguments& Arguments::text(std::string_view value) {
    return add(call_pg([&](PgFrame frame) { return text_datum(frame, value); }));
}

Arguments& Arguments::number(std::optional<std::int64_t> value) {
    return add(Int64GetDatum(value.value_or(0)), !value);
}

Arguments& Arguments::optional_text(const std::optional<std::string>& value) {
    return add(value ? call_pg([&](PgFrame frame) { return text_datum(frame, *value); }) : Datum{0}, !value);
}

Arguments& Arguments::real(double value) {
    return add(call_pg([&] { return Float8GetDatum(value); }));
}

Arguments& Arguments::boolean(bool value) {
    return add(BoolGetDatum(value));
}

Arguments& Arguments::add(Datum value, bool is_null) {
    values_.push_back(value);
    nulls_.push_back(is_null ? 'n' : ' ');
    return *this;
}

Arguments& Arguments::texts(std::span<const std::string_view> values) {
    if (is_single_row_) {
        return text(values.front());
    }
    return add(array_datum<std::string_view>(
        values, TEXTOID,
        [](PgFrame frame, const std::string_view& value) { return text_datum(frame, value); },
        [](const std::string_view&) { return false; }));
}

Arguments& Arguments::texts(std::span<const std::optional<std::string_view>> values) {
    if (is_single_row_) {
        const std::optional<std::string_view>& value = values.front();
        return add(value ? call_pg([&](PgFrame frame) { return text_datum(frame, *value); }) : Datum{0},
                   !value);
    }
    return add(array_datum<std::optional<std::string_view>>(
        values, TEXTOID,
        [](PgFrame frame, const std::optional<std::string_view>& value) { return text_datum(frame, *value); },
        [](const std::optional<std::string_view>& value) { return !value.has_value(); }));
}

Arguments& Arguments::numbers(std::span<const std::optional<std::int64_t>> values) {
    if (is_single_row_) {
        return number(values.front());
    }
    return add(array_datum<std::optional<std::int64_t>>(
        values, INT8OID,
        [](PgFrame, const std::optional<std::int64_t>& value) { return Int64GetDatum(*value); },
        [](const std::optional<std::int64_t>& value) { return !value.has_value(); }));
}

Arguments& Arguments::booleans(std::span<const bool> values) {
    if (is_single_row_) {
        return boolean(values.front());
    }
    return add(array_datum<bool>(
        values, BOOLOID, [](PgFrame, const bool& value) { return BoolGetDatum(value); },
        [](const bool&) { return false; }));
}

Rows Statement::run(const Arguments& arguments, SnapshotKind view) {
    Assert(ActiveSnapshotSet());  // of the SpiConnection
    plan_.require_parameters(arguments.values_.size());
    auto* const values = const_cast<Datum*>(arguments.values_.data());
    const char* const nulls = arguments.nulls_.data();
    call_pg([&](PgFrame frame) {
        inject_fault(frame, name_);
        plan_.prepare(frame);
    });
    const CheckedStatement checked;
    SPIPlanPtr const plan = plan_.planned();
    const KeptPlans kept;
    return call_pg([&](PgFrame frame) -> Rows {
        const bool is_read_only = view != SnapshotKind::current || has_fixed_snapshot();
        if (is_read_only) {
            push_snapshot(frame, view);
        }
        const int code =
            SPI_execute_snapshot(plan, values, nulls, is_read_only ? InvalidSnapshot : GetLatestSnapshot(),
                                 InvalidSnapshot, is_read_only, true, 0);
        if (is_read_only) {
            PopActiveSnapshot();
        }
        check_result(frame, code, plan_.sql());
        processed_ = SPI_processed;
        return read_rows(frame);
    });
}

std::string quoted_literal(std::string_view text) {
    const std::string owned(text);
    return call_pg([&]() -> const char* { return quote_literal_cstr(owned.c_str()); });
}

std::string quoted_identifier(std::string_view text) {
    const std::string owned(text);
    return call_pg([&]() -> const char* { return quote_identifier(owned.c_str()); });
}

void run_once(const std::string& sql) {
    call_pg([&](PgFrame frame) { check_result(frame, SPI_execute(sql.c_str(), false, 0), sql.c_str()); });
}

Rows query_once(const std::string& sql, const std::vector<Oid>& types, const Arguments& arguments) {
    auto* const values = const_cast<Datum*>(arguments.values_.data());
    const CheckedStatement checked;
    return call_pg([&](PgFrame frame) {
        SPIPlanPtr const plan =
            SPI_prepare(sql.c_str(), static_cast<int>(types.size()), const_cast<Oid*>(types.data()));
        if (plan == nullptr) {
            check_result(frame, SPI_result, sql.c_str());
        }
        check_result(frame,
                     SPI_execute_snapshot(plan, values, arguments.nulls_.data(), GetLatestSnapshot(),
                                          InvalidSnapshot, false, true, 0),
                     sql.c_str());
        return read_rows(frame);
    });
}

}  // namespace sliding_sync
