#include "guard/boundary.hpp"

#include <csetjmp>
#include <cstring>
#include <new>

extern "C" {
#include "utils/elog.h"
#include "utils/memutils.h"
}

namespace sliding_sync::detail {

namespace {

// Memory context of the innermost open door; TopMemoryContext would leak, CurrentMemoryContext may not survive.
MemoryContext door_context = nullptr;

// Copies the error on top of the server's stack and clears it. Copying may itself run out of memory: then the
// jump ends here, and the caller sees nullptr.
ErrorData* take_error(MemoryContext context) noexcept {
    sigjmp_buf* const outer_stack = PG_exception_stack;
    sigjmp_buf here;
    ErrorData* volatile copy = nullptr;
    if (sigsetjmp(here, 0) == 0) {
        PG_exception_stack = &here;
        MemoryContextSwitchTo(context);
        copy = CopyErrorData();
    }
    PG_exception_stack = outer_stack;
    FlushErrorState();
    return copy;
}

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
    ErrorData* const data = take_error(door_context != nullptr ? door_context : outer_context);
    MemoryContextSwitchTo(outer_context);
    if (data == nullptr) {
        throw std::bad_alloc();
    }
    throw PgError(data);
}

void describe_exception(Escaped& escaped) noexcept {
    escaped.server_error = nullptr;
    escaped.message[0] = escaped.detail[0] = escaped.hint[0] = '\0';
    try {
        throw;
    } catch (const PgError& error) {
        escaped.server_error = error.data();
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

void raise(Escaped& escaped) {
    if (escaped.server_error != nullptr) {
        ReThrowError(escaped.server_error);
    }
    raise_pg_error(escaped.sqlstate, escaped.message, escaped.detail, escaped.hint);
}

Door::Door() noexcept : outer_(door_context) {
    door_context = CurrentMemoryContext;
}

Door::~Door() {
    door_context = outer_;
}

}  // namespace sliding_sync::detail

namespace sliding_sync {

void raise_pg_error(int sqlstate, const char* message, const char* detail, const char* hint) {
    ereport(ERROR, errcode(sqlstate), errmsg("%s", message), detail[0] != '\0' ? errdetail("%s", detail) : 0,
            hint[0] != '\0' ? errhint("%s", hint) : 0);
    pg_unreachable();
}

}  // namespace sliding_sync
