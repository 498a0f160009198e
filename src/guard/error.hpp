// The two exceptions that cross from C++ to the server.
#pragma once

#include <exception>

#include "guard/postgres.hpp"

namespace sliding_sync {

/// An error that the server raised inside `call_pg`. It owns the copied ErrorData until a door re-raises it
/// unchanged, or a subtransaction that was rolled back drops it.
class PgError final : public std::exception {
public:
    explicit PgError(ErrorData* data) noexcept : data_(data) {}

    [[nodiscard]] ErrorData* data() const noexcept {
        return data_;
    }
    [[nodiscard]] const char* what() const noexcept override {
        return data_->message != nullptr ? data_->message : "server error";
    }

private:
    ErrorData* data_;  // lives in the memory context of the door, see boundary.cpp
};

/// An error of our own, raised as ereport(ERROR) at the door.
class Error final : public std::exception {
public:
    /// `sqlstate` is one of the ERRCODE_* values; DETAIL and HINT are whole sentences, empty when there is none.
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
