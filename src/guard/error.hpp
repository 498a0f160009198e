// The two exceptions that cross from C++ to the server.
#pragma once

#include <exception>

#include "guard/postgres.hpp"

extern "C" {
#include "utils/elog.h"
}

namespace sliding_sync {

namespace detail {
class CaughtError;
}

/// An error that the server raised inside `call_pg`, with everything it carried. The copy has memory of its
/// own and lives as long as the exception is held, in whatever transaction or frame; only the boundary makes
/// one.
class PgError final : public std::exception {
public:
    [[nodiscard]] int sqlstate() const noexcept;
    [[nodiscard]] const char* message() const noexcept;
    [[nodiscard]] const char* what() const noexcept override {
        return message();
    }
    /// True when a user's code chose its SQLSTATE: a function's RAISE, or another server that a function has
    /// asked. It may look like a cancel or a conflict, and is none.
    [[nodiscard]] bool is_raised_by_code() const noexcept;

    /// The server's own form of the error, to be raised again unchanged: its memory belongs to the current
    /// memory context from now on. For `enter_cpp` only.
    [[nodiscard]] ErrorData* hand_over() const noexcept;

private:
    friend class detail::CaughtError;
    explicit PgError(std::shared_ptr<detail::CaughtError> caught) noexcept : caught_(std::move(caught)) {}

    std::shared_ptr<detail::CaughtError> caught_;
};

/// An error of our own, raised as ereport(ERROR) by `enter_cpp`.
class Error final : public std::exception {
public:
    /// `sqlstate` is one of the ERRCODE_* values; DETAIL and HINT are whole sentences, empty when there is
    /// none.
    Error(int sqlstate, std::string message, std::string detail = {}, std::string hint = {})
        : sqlstate_(sqlstate), message_(std::move(message)), detail_(std::move(detail)),
          hint_(std::move(hint)) {}

    [[nodiscard]] int sqlstate() const noexcept {
        return sqlstate_;
    }
    [[nodiscard]] const std::string& detail() const noexcept {
        return detail_;
    }
    [[nodiscard]] const std::string& hint() const noexcept {
        return hint_;
    }
    [[nodiscard]] const char* what() const noexcept override {
        return message_.c_str();
    }

private:
    int sqlstate_;
    std::string message_;
    std::string detail_;
    std::string hint_;
};

}  // namespace sliding_sync
