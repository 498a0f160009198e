// A typed window on the server programming interface: kept plans, array parameters, rows as plain cells.
#pragma once

#include "guard/boundary.hpp"

extern "C" {
#include "executor/spi.h"
}

namespace sliding_sync {

/// One value of a result row. Text points into the memory of the open SpiConnection.
struct Cell {
    const char* data;
    std::size_t size;
    std::int64_t number;  ///< int8, int4, bool (0, 1), xid, oid, tid (block << 16 | item)
    bool is_null;

    [[nodiscard]] std::string_view text() const noexcept {
        return {data, size};
    }
    [[nodiscard]] std::optional<std::string> optional_text() const {
        return is_null ? std::nullopt : std::optional<std::string>(std::in_place, data, size);
    }
    [[nodiscard]] std::optional<std::int64_t> optional_number() const noexcept {
        return is_null ? std::nullopt : std::optional<std::int64_t>(number);
    }
    [[nodiscard]] bool boolean() const noexcept {
        return !is_null && number != 0;
    }
};

/// The rows a statement returned; valid while its SpiConnection is open.
struct Rows {
    Cell* cells = nullptr;
    std::size_t count = 0;
    std::size_t columns = 0;

    [[nodiscard]] std::span<const Cell> operator[](std::size_t row) const noexcept {
        return {cells + row * columns, columns};
    }
};

/// Connects for its lifetime. After a server error it cleans nothing up: the abort does (design section 6.4).
class SpiConnection {
public:
    SpiConnection();
    ~SpiConnection();
    SpiConnection(const SpiConnection&) = delete;
    SpiConnection& operator=(const SpiConnection&) = delete;

private:
    int exceptions_;
};

/// Parameters of one execution, in order. Built inside an open SpiConnection, whose memory they use.
class Arguments {
public:
    Arguments() = default;
    /// For a statement over so many rows: of a single one, columns are passed as plain values and not as arrays.
    explicit Arguments(std::size_t rows) : is_single_row_(rows == 1) {}

    [[nodiscard]] bool is_single_row() const noexcept {
        return is_single_row_;
    }

    Arguments& text(std::string_view value);
    Arguments& optional_text(const std::optional<std::string>& value);
    Arguments& number(std::optional<std::int64_t> value);
    Arguments& real(double value);
    Arguments& boolean(bool value);
    Arguments& texts(std::span<const std::string_view> values);
    Arguments& texts(std::span<const std::optional<std::string_view>> values);
    Arguments& numbers(std::span<const std::optional<std::int64_t>> values);
    Arguments& booleans(std::span<const bool> values);

private:
    friend class Statement;
    friend Rows query_once(const std::string& sql, const std::vector<Oid>& types, const Arguments& arguments);
    void add(Datum value, bool is_null = false);

    std::vector<Datum> values_;
    std::vector<char> nulls_;
    bool is_single_row_ = false;
};

/// Which rows a statement sees.
enum class View {
    current,             ///< everything committed for this transaction plus its own changes
    before_transaction,  ///< the same without this transaction's own changes: read-only
    latest,              ///< everything committed by now, whatever the isolation level: read-only
};

/// While one is open, every statement reads the same moment: several of them together tell the truth although other
/// transactions commit between them. Reads only; opened outside any SpiConnection.
class OneMoment {
public:
    OneMoment();
    ~OneMoment();
    OneMoment(const OneMoment&) = delete;
    OneMoment& operator=(const OneMoment&) = delete;

private:
    int exceptions_;
};

/// While one is open, statements read and write what is committed by now at every isolation level, as READ COMMITTED
/// does. For rows that are locked by then (row_lock.hpp): nobody else's change to them can be overwritten unseen.
class AsOfNow {
public:
    AsOfNow() noexcept;
    ~AsOfNow();
    AsOfNow(const AsOfNow&) = delete;
    AsOfNow& operator=(const AsOfNow&) = delete;
};

/// Which indexes a plan may use.
enum class Indexes : std::uint8_t {
    any,
    /// Of tables with memberships only those that find one row: while a table is empty its wider indexes look as good.
    of_membership_keys,
};

/// A statement whose plan is kept for the life of the backend and planned once for all parameter values.
class Statement {
public:
    /// `name` is what sliding_sync.fault calls the statement; `types` are the types of $1, $2, ...
    Statement(const char* name, std::string sql, std::vector<Oid> types, Indexes indexes = Indexes::any)
        : name_(name), sql_(std::move(sql)), types_(std::move(types)), indexes_(indexes) {}
    Statement(const Statement&) = delete;
    Statement& operator=(const Statement&) = delete;
    Statement(Statement&&) = delete;

    /// Runs inside an open SpiConnection; raises what the server raises, as PgError.
    Rows run(const Arguments& arguments, View view = View::current);

    /// How many rows the last run touched or returned.
    [[nodiscard]] std::uint64_t processed() const noexcept {
        return processed_;
    }

private:
    const char* name_;
    std::string sql_;
    std::vector<Oid> types_;
    Indexes indexes_;
    SPIPlanPtr plan_ = nullptr;
    std::uint64_t processed_ = 0;
};

/// While one is open, statements are the last resort after a failure: sliding_sync.fault reaches them only with a
/// "!" before the name, so that tests can tell a step that fails from a cure that fails.
class LastResort {
public:
    LastResort() noexcept;
    ~LastResort();
    LastResort(const LastResort&) = delete;
    LastResort& operator=(const LastResort&) = delete;
};

/// Text as an SQL literal, and as an identifier that is quoted where it must be.
std::string quoted_literal(std::string_view text);
std::string quoted_identifier(std::string_view text);

/// Runs one statement without parameters, not kept; for DDL and settings.
void run_once(const std::string& sql);

/// Runs one query, not kept; without parameters, or with some of these types.
Rows query_once(const std::string& sql);
Rows query_once(const std::string& sql, const std::vector<Oid>& types, const Arguments& arguments);

}  // namespace sliding_sync
