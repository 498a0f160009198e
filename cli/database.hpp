// A session of the server. Everything that is asked of libpqxx is asked in database.cpp, for it differs
// between its versions.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "cli/console.hpp"

namespace sliding_sync::cli {

/// An error that the server reported.
struct ServerError : std::runtime_error {
    ServerError(const std::string& text, std::string state, std::string detail_text, std::string hint_text)
        : std::runtime_error(text), sqlstate(std::move(state)), detail(std::move(detail_text)),
          hint(std::move(hint_text)) {}

    std::string sqlstate;
    std::string detail;
    std::string hint;
};

/// There is no session (any more): another one may be had later.
struct ConnectionLost : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// The server wants a password, and none was given.
struct PasswordNeeded : ConnectionLost {
    using ConnectionLost::ConnectionLost;
};

using Value = std::optional<std::string>;

struct Rows {
    std::vector<std::string> columns;
    std::vector<bool> is_number;  ///< by column
    std::vector<std::vector<Value>> values;

    [[nodiscard]] std::optional<std::size_t> find_column(std::string_view name) const;
    /// The value in this column; an absent column is a mistake of ours.
    [[nodiscard]] const Value& at(std::size_t row, std::string_view column) const;
};

class Database {
public:
    using NoticeHandler = std::function<void(const Message&)>;

    /// Raises ConnectionLost, PasswordNeeded. The handler is called from within `run`.
    Database(const std::string& connection_string, NoticeHandler on_notice);
    ~Database();
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;

    /// One statement in a transaction of its own. Raises ServerError, ConnectionLost.
    Rows run(const std::string& sql);

    /// Asks the server to end what runs; from any thread.
    void cancel() noexcept;

    [[nodiscard]] int pid() const noexcept;

private:
    struct Session;
    std::unique_ptr<Session> session_;
};

}  // namespace sliding_sync::cli
