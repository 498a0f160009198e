#include "cli/database.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <libpq-fe.h>
#include <pqxx/pqxx>
#include <string_view>

#if PQXX_VERSION_MAJOR < 6 || (PQXX_VERSION_MAJOR == 6 && PQXX_VERSION_MINOR < 4)
#error "libpqxx 6.4 or newer is needed"
#endif

#if PQXX_VERSION_MAJOR > 7 || (PQXX_VERSION_MAJOR == 7 && PQXX_VERSION_MINOR >= 10)
#define SLIDING_SYNC_NOTICE_FUNCTION 1  // since 7.10 a function gets the notices, before that an object
#else
#define SLIDING_SYNC_NOTICE_FUNCTION 0
#endif

namespace sliding_sync::cli {

namespace {

std::string trimmed(std::string_view text) {
    const auto end = text.find_last_not_of(" \n\t");
    return std::string(text.substr(0, end == std::string_view::npos ? 0 : end + 1));
}

struct Part {
    std::string_view label;
    std::string Message::*where;
};

// libpq labels the fields of a message, in English as long as nobody chooses another language for it.
constexpr std::array<std::string_view, 7> other_labels{
    "\nCONTEXT:  ",     "\nSTATEMENT:  ", "\nLOCATION:  ",  "\nQUERY:  ",
    "\nSCHEMA NAME:  ", "\nLINE 1: ",     "\nTABLE NAME:  "};

std::string_view field(std::string_view text, std::string_view label) {
    const auto begin = text.find(label);
    if (begin == std::string_view::npos) {
        return {};
    }
    std::string_view found = text.substr(begin + label.size());
    std::size_t end = found.size();
    for (const std::string_view next : {std::string_view("\nDETAIL:  "), std::string_view("\nHINT:  ")}) {
        end = std::min(end, found.find(next));
    }
    for (const std::string_view next : other_labels) {
        end = std::min(end, found.find(next));
    }
    return found.substr(0, end);
}

Message message_of(std::string_view text) {
    const std::string_view all = text;
    Message message;
    const auto colon = text.find(":  ");
    // a severity is one word
    if (colon != std::string_view::npos &&
        text.substr(0, colon).find_first_of(" \n") == std::string_view::npos) {
        message.severity = text.substr(0, colon);
        std::transform(message.severity.begin(), message.severity.end(), message.severity.begin(),
                       [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
        text.remove_prefix(colon + 3);
    }
    const std::string whole = "\n" + std::string(text);
    message.text = trimmed(field(whole, "\n"));
    message.detail = trimmed(field(all, "\nDETAIL:  "));
    message.hint = trimmed(field(all, "\nHINT:  "));
    return message;
}

bool is_number(pqxx::oid type) {
    constexpr std::array<pqxx::oid, 7> numbers{20, 21, 23, 26, 700, 701, 1700};
    return std::find(numbers.begin(), numbers.end(), type) != numbers.end();
}

Rows rows_of(const pqxx::result& result) {
    Rows rows;
    const auto columns = result.columns();
    for (decltype(result.columns()) i = 0; i < columns; ++i) {
        rows.columns.emplace_back(result.column_name(i));
        rows.is_number.push_back(is_number(result.column_type(i)));
    }
    rows.values.reserve(static_cast<std::size_t>(result.size()));
    for (const auto& row : result) {
        std::vector<Value> values;
        values.reserve(rows.columns.size());
        for (decltype(result.columns()) i = 0; i < columns; ++i) {
            const auto cell = row[i];
            values.push_back(cell.is_null() ? Value() : Value(std::string(cell.c_str(), cell.size())));
        }
        rows.values.push_back(std::move(values));
    }
    return rows;
}

// 57P01 to 57P05: the session was ended by the server; 08: there is none.
bool ends_session(std::string_view sqlstate) {
    return sqlstate.substr(0, 4) == "57P0" || sqlstate.substr(0, 2) == "08";
}

// Of a session that is gone libpqxx tells that it could not ask for its encoding (6), or only that (7).
std::string why_lost(std::string_view text) {
    const auto says = [&](std::string_view words) { return text.find(words) != std::string_view::npos; };
    return !says("client encoding") && !says("Lost connection") ? message_of(text).text
                                                                : "the server has ended the session";
}

#if !SLIDING_SYNC_NOTICE_FUNCTION
class NoticeForwarder : public pqxx::errorhandler {
public:
    NoticeForwarder(pqxx::connection& connection, Database::NoticeHandler handler)
        : pqxx::errorhandler(connection), handler_(std::move(handler)) {}

    bool operator()(const char text[]) noexcept override {
        try {
            const Message message = message_of(text);
            if (!message.severity.empty()) {  // libpqxx's own remarks have none
                handler_(message);
            }
        } catch (...) {  // nowhere to tell it: a notice less
        }
        return false;
    }

private:
    Database::NoticeHandler handler_;
};
#endif

}  // namespace

std::optional<std::size_t> Rows::find_column(std::string_view name) const {
    const auto found = std::find(columns.begin(), columns.end(), name);
    return found == columns.end() ? std::nullopt
                                  : std::optional(static_cast<std::size_t>(found - columns.begin()));
}

const Value& Rows::at(std::size_t row, std::string_view column) const {
    const auto found = find_column(column);
    if (!found) {
        throw std::logic_error("no column " + std::string(column));
    }
    return values.at(row).at(*found);
}

struct Database::Session {
    Session(const std::string& connection_string, const NoticeHandler& on_notice)
        : connection(connection_string)
#if !SLIDING_SYNC_NOTICE_FUNCTION
          ,
          notices(connection, on_notice)
#endif
    {
#if SLIDING_SYNC_NOTICE_FUNCTION
        connection.set_notice_handler([on_notice](pqxx::zview text) noexcept {
            try {
                if (const Message message = message_of(text); !message.severity.empty()) {
                    on_notice(message);
                }
            } catch (...) {  // nowhere to tell it: a notice less
            }
        });
#endif
    }

    pqxx::connection connection;
#if !SLIDING_SYNC_NOTICE_FUNCTION
    NoticeForwarder notices;
#endif
};

Database::Database(const std::string& connection_string, NoticeHandler on_notice) {
    try {
        session_ = std::make_unique<Session>(connection_string, on_notice);
#if PQXX_VERSION_MAJOR < 7
        // It would connect again by itself, and a transaction would go on in another session.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
        session_->connection.inhibit_reactivation(true);
#pragma GCC diagnostic pop
#endif
    } catch (const pqxx::broken_connection& error) {
        const std::string text = trimmed(error.what());
        if (text.find(trimmed(PQnoPasswordSupplied)) != std::string::npos) {
            throw PasswordNeeded(text);
        }
        throw ConnectionLost(text);
    }
}

Database::~Database() = default;

Rows Database::run(const std::string& sql) {
    try {
        pqxx::nontransaction transaction(session_->connection);
        return rows_of(transaction.exec(sql));
    } catch (const pqxx::broken_connection& error) {
        throw ConnectionLost(why_lost(error.what()));
    } catch (const pqxx::sql_error& error) {
        const Message message = message_of(error.what());
        if (ends_session(error.sqlstate()) || !session_->connection.is_open()) {
            throw ConnectionLost(message.text);
        }
        throw ServerError(message.text, std::string(error.sqlstate()), message.detail, message.hint);
    } catch (const pqxx::failure& error) {
        throw ConnectionLost(why_lost(error.what()));
    }
}

void Database::cancel() noexcept {
    try {
        session_->connection.cancel_query();
    } catch (const std::exception&) {  // the session is gone, and so is what ran in it
    }
}

int Database::pid() const noexcept {
    return session_->connection.backendpid();
}

}  // namespace sliding_sync::cli
