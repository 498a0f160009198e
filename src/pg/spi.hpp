// A typed window on the server programming interface: kept plans, array parameters, rows as plain cells.
#pragma once

#include "pg/query_plan.hpp"
#include "pg/snapshot.hpp"

namespace sliding_sync {

/// Connects for its lifetime. After a server error it cleans nothing up: the abort does
/// (docs/boundary.md#after-an-error).
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
    /// For a statement over so many rows: of a single one, columns are passed as plain values and not as
    /// arrays.
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
    friend class CallerQuery;
    friend Rows query_once(const std::string& sql, const std::vector<Oid>& types, const Arguments& arguments);
    Arguments& add(Datum value, bool is_null = false);

    std::vector<Datum> values_;
    std::vector<char> nulls_;
    bool is_single_row_ = false;
};

/// A statement that is planned once. It sees and writes what is committed by now, at every isolation level.
class Statement {
public:
    /// `name` is what sliding_sync.inject_fault calls the statement; `types` are the types of $1, $2, ...
    Statement(const char* name, std::string sql, std::vector<Oid> types)
        : name_(name), plan_(std::move(sql), std::move(types)) {}

    /// Runs inside an open SpiConnection; raises what the server raises, as PgError.
    Rows run(const Arguments& arguments, SnapshotKind view = SnapshotKind::current);

    /// How many rows the last run touched or returned.
    [[nodiscard]] std::uint64_t processed() const noexcept {
        return processed_;
    }

private:
    const char* name_;
    QueryPlan plan_;
    std::uint64_t processed_ = 0;
};

/// Text as an SQL literal, and as an identifier that is quoted where it must be.
std::string quoted_literal(std::string_view text);
std::string quoted_identifier(std::string_view text);

/// Runs one statement without parameters, not kept; for DDL and settings.
void run_once(const std::string& sql);

/// Runs one query, not kept, of what is committed by now; without parameters, or with some of these types.
Rows query_once(const std::string& sql, const std::vector<Oid>& types = {}, const Arguments& arguments = {});

}  // namespace sliding_sync
