// The boundary between the server (errors by longjmp) and C++ (errors by exception). Only the two functions
// of this header know both; the rules that callers keep are in docs/boundary.md.
#pragma once

#include <type_traits>

#include "guard/error.hpp"

namespace sliding_sync {

namespace detail {
struct GuardedBody;
}

/// Proof that the server may raise an error here: only `call_pg` makes one, for its body. Functions of ours
/// that call the server, and are called from inside `call_pg` only, take it. Empty: passing it costs nothing.
class PgFrame {
    friend struct detail::GuardedBody;
    PgFrame() noexcept {}  // NOLINT(modernize-use-equals-default): `{}` must not make one
};

namespace detail {

struct GuardedBody {
    template <typename Body>
    static decltype(auto) run(Body& body) {
        if constexpr (std::is_invocable_v<Body&, PgFrame>) {
            return body(PgFrame());
        } else {
            return body();
        }
    }
    template <typename Body>
    using Result = decltype(run(std::declval<Body&>()));
};

/// Runs `body(argument)` under a jump buffer; a server error becomes PgError.
void run_guarded(void (*body)(void*), void* argument);

/// What is left of an exception once its handler is done: plain data, so that raising it jumps over nothing.
struct Escaped {
    ErrorData* server_error;
    int sqlstate;
    char message[1024];
    char detail[1024];
    char hint[1024];
};

/// Call only inside a handler: describes the exception in flight.
void describe_exception(Escaped& escaped) noexcept;

/// Where it is a cancelled call: its HINT, and no CONTEXT. `hint` must live for ever.
void describe_cancel(Escaped& escaped, const char* hint) noexcept;

[[noreturn]] void raise(Escaped& escaped);

}  // namespace detail

/// The way back into the server: runs C calls that may raise. A raised error comes out as PgError with its
/// SQLSTATE, DETAIL, CONTEXT and cursor position. `body` holds only C calls and trivially destructible
/// locals; objects with destructors live in frames above. It may take a PgFrame. Guard a batch, not a value.
template <typename Body>
auto call_pg(Body&& body) -> detail::GuardedBody::Result<std::remove_reference_t<Body>> {
    using Callable = std::remove_reference_t<Body>;
    using Result = detail::GuardedBody::Result<Callable>;
    if constexpr (std::is_void_v<Result>) {
        detail::run_guarded(
            [](void* argument) { detail::GuardedBody::run(*static_cast<Callable*>(argument)); },
            const_cast<void*>(static_cast<const void*>(&body)));
    } else {
        static_assert(std::is_trivially_destructible_v<Result>, "the frame may be left by longjmp");
        struct Call {
            Callable* body;
            Result result;
        } call{&body, Result{}};
        detail::run_guarded(
            [](void* argument) {
                auto* self = static_cast<Call*>(argument);
                self->result = detail::GuardedBody::run(*self->body);
            },
            &call);
        return call.result;
    }
}

/// The error in flight was made with rights that the statement's user may not have: it leaves without its
/// DETAIL, which may show a row. The server's log keeps it. Returns what it was before, to be set again by
/// the handler of the error.
bool hide_detail(bool is_hidden) noexcept;

/// Raises a server error from plain C code: inside a `call_pg` body, or where no C++ frame is open at all.
[[noreturn]] void raise_pg_error(int sqlstate, const char* message, const char* detail = "",
                                 const char* hint = "");

/// The entry point of every SQL-callable symbol and server callback: runs C++ code and turns whatever escapes
/// into a server error, after the handler has been left so that the exception object is destroyed.
template <typename Body>
auto enter_cpp(Body&& body) -> std::invoke_result_t<Body> {
    static_assert(std::is_void_v<std::invoke_result_t<Body>> ||
                      std::is_trivially_destructible_v<std::invoke_result_t<Body>>,
                  "what leaves an entry point belongs to the server");
    detail::Escaped escaped;  // not initialised: it costs nothing as long as nothing escapes
    try {
        return body();
    } catch (...) {
        detail::describe_exception(escaped);
    }
    detail::raise(escaped);
}

/// The same for a function that works for long: a cancelled one says how to go on, with a literal or "", and
/// not at which statement of ours it was.
template <typename Body>
auto enter_long_call(const char* hint, Body&& body) -> std::invoke_result_t<Body> {
    detail::Escaped escaped;
    try {
        return body();
    } catch (...) {
        detail::describe_exception(escaped);
        detail::describe_cancel(escaped, hint);
    }
    detail::raise(escaped);
}

}  // namespace sliding_sync
