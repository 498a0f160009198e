#include "guard/boundary.hpp"

#include <csetjmp>
#include <cstring>
#include <new>

extern "C" {
#include "utils/elog.h"
#include "utils/memutils.h"
}

namespace sliding_sync {

namespace detail {

// A copied error in a memory context of its own, outside of every transaction and statement.
class CaughtError {
public:
    CaughtError(ErrorData* data, MemoryContext context) noexcept : data_(data), context_(context) {}
    ~CaughtError() {
        if (context_ != nullptr) {
            MemoryContextDelete(context_);
        }
    }
    CaughtError(const CaughtError&) = delete;
    CaughtError& operator=(const CaughtError&) = delete;

    [[nodiscard]] const ErrorData& data() const noexcept {
        return *data_;
    }

    [[nodiscard]] ErrorData* hand_over() noexcept {
        if (context_ != nullptr) {
            MemoryContextSetParent(std::exchange(context_, nullptr), CurrentMemoryContext);
        }
        return data_;
    }

    /// Copies the error on top of the server's stack, and clears it. Copying may itself run out of memory:
    /// then the jump ends here, and std::bad_alloc is thrown.
    [[noreturn]] static void take_and_throw() {
        sigjmp_buf* const outer_stack = PG_exception_stack;
        MemoryContext const outer_context = CurrentMemoryContext;
        sigjmp_buf here;
        MemoryContext volatile context = nullptr;
        ErrorData* volatile copy = nullptr;
        if (sigsetjmp(here, 0) == 0) {
            PG_exception_stack = &here;
            context = AllocSetContextCreate(TopMemoryContext, "sliding_sync error", ALLOCSET_SMALL_SIZES);
            MemoryContextSwitchTo(context);
            copy = CopyErrorData();
        }
        PG_exception_stack = outer_stack;
        MemoryContextSwitchTo(outer_context);
        FlushErrorState();
        if (copy == nullptr) {
            if (context != nullptr) {
                MemoryContextDelete(context);
            }
            throw std::bad_alloc();
        }
        throw PgError(std::make_shared<CaughtError>(copy, context));
    }

private:
    ErrorData* data_;
    MemoryContext context_;  // null once it was handed over
};

namespace {

void copy_text(char (&target)[1024], const char* source) noexcept {
    const std::size_t length = strnlen(source, sizeof(target) - 1);
    // never end in the middle of a UTF-8 sequence
    std::size_t end = length;
    if (source[length] != '\0') {
        while (end > 0 && (static_cast<unsigned char>(source[end]) & 0xC0U) == 0x80U) {
            --end;
        }
    }
    std::memcpy(target, source, end);
    target[end] = '\0';
}

}  // namespace

void run_guarded(void (*body)(void*), void* argument) {
    sigjmp_buf* const outer_stack = PG_exception_stack;
    ErrorContextCallback* const outer_callbacks = error_context_stack;
    MemoryContext const outer_context = CurrentMemoryContext;
    sigjmp_buf here;
    if (sigsetjmp(here, 0) == 0) {
        PG_exception_stack = &here;
        body(argument);
        PG_exception_stack = outer_stack;
        error_context_stack = outer_callbacks;
        return;
    }
    PG_exception_stack = outer_stack;
    error_context_stack = outer_callbacks;
    MemoryContextSwitchTo(outer_context);
    CaughtError::take_and_throw();
}

namespace {

bool is_detail_hidden = false;

// The log has it all the same.
void take_detail_away(ErrorData& error) noexcept {
    if (error.detail_log == nullptr) {
        error.detail_log = error.detail;
    }
    error.detail = nullptr;
}

}  // namespace

void describe_exception(Escaped& escaped) noexcept {
    const bool is_hidden = std::exchange(is_detail_hidden, false);
    escaped.server_error = nullptr;
    escaped.message[0] = escaped.detail[0] = escaped.hint[0] = '\0';
    try {
        throw;
    } catch (const PgError& error) {
        escaped.server_error = error.hand_over();
        if (is_hidden) {
            take_detail_away(*escaped.server_error);
        }
    } catch (const Error& error) {
        escaped.sqlstate = error.sqlstate();
        copy_text(escaped.message, error.what());
        copy_text(escaped.detail, error.detail().c_str());
        copy_text(escaped.hint, error.hint().c_str());
    } catch (const std::bad_alloc&) {
        escaped.sqlstate = ERRCODE_OUT_OF_MEMORY;
        copy_text(escaped.message, "out of memory");
    } catch (const std::exception& error) {
        escaped.sqlstate = ERRCODE_INTERNAL_ERROR;
        copy_text(escaped.message, error.what());
    } catch (...) {
        escaped.sqlstate = ERRCODE_INTERNAL_ERROR;
        copy_text(escaped.message, "unknown C++ exception");
    }
}

void describe_cancel(Escaped& escaped, const char* hint) noexcept {
    ErrorData* const error = escaped.server_error;
    if (error != nullptr && error->sqlerrcode == ERRCODE_QUERY_CANCELED) {
        error->context = nullptr;
        error->hint = hint[0] != '\0' ? const_cast<char*>(hint) : error->hint;  // copied when it is raised
    }
}

void raise(Escaped& escaped) {
    if (escaped.server_error != nullptr) {
        ReThrowError(escaped.server_error);
    }
    raise_pg_error(escaped.sqlstate, escaped.message, escaped.detail, escaped.hint);
}

}  // namespace detail

bool hide_detail(bool is_hidden) noexcept {
    return std::exchange(detail::is_detail_hidden, is_hidden);
}

int PgError::sqlstate() const noexcept {
    return caught_->data().sqlerrcode;
}

bool PgError::is_raised_by_code() const noexcept {
    struct Place {
        std::string_view file;
        std::string_view function;  // its beginning
    };
    constexpr std::array<Place, 5> places{{{"pl_exec.c", "exec_stmt_"},
                                           {"plpy_elog.c", "PLy_"},
                                           {"plperl.c", ""},
                                           {"dblink.c", ""},
                                           {"connection.c", "pgfdw_"}}};
    const char* const file = caught_->data().filename;
    const char* const function = caught_->data().funcname;
    return file != nullptr && function != nullptr &&
           std::any_of(places.begin(), places.end(), [&](const Place& place) {
               return place.file == file && std::string_view(function).starts_with(place.function);
           });
}

const char* PgError::message() const noexcept {
    const char* const message = caught_->data().message;
    return message != nullptr ? message : "server error";
}

ErrorData* PgError::hand_over() const noexcept {
    return caught_->hand_over();
}

void raise_pg_error(int sqlstate, const char* message, const char* detail, const char* hint) {
    ereport(ERROR, errcode(sqlstate), errmsg("%s", message), detail[0] != '\0' ? errdetail("%s", detail) : 0,
            hint[0] != '\0' ? errhint("%s", hint) : 0);
    pg_unreachable();
}

}  // namespace sliding_sync
