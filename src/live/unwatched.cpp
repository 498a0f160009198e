#include "live/unwatched.hpp"

#include "derive/attachment.hpp"
#include "derive/sql_text.hpp"
#include "server/catalog.hpp"
#include "server/spi.hpp"
#include "server/transaction.hpp"

extern "C" {
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "utils/lsyscache.h"
}

namespace sliding_sync {

namespace {

// A transaction that changes two homeservers without triggers is noted for both; for more, for the first ones.
constexpr std::size_t most_schemas = 4;

struct Unwatched {
    Oid namespace_oid;
    UnwatchedReason reason;
};
std::array<Unwatched, most_schemas> unwatched;
std::size_t count = 0;

const char* word(UnwatchedReason reason) noexcept {
    return reason == UnwatchedReason::disabled ? "disabled" : "replica";
}

void write(const Unwatched& change, Oid owner) {
    static Statement hold(
        "hold_unwatched",
        // a lock would be gone after the commit, and catch_up(), looking at an earlier moment, would take the row away
        // without having seen the changes: from a new version it gets 40001
        sql_text("UPDATE sliding_sync.unwatched_writes u SET noted_at = u.noted_at WHERE u.write_id %= ANY "
                 "(ARRAY(SELECT w.write_id FROM sliding_sync.unwatched_writes w WHERE w.schema_name %= $1 "
                 "AND w.reason %= $2 ORDER BY w.write_id LIMIT 1 FOR UPDATE SKIP LOCKED))",
                 ""),
        {TEXTOID, TEXTOID});
    static Statement insert("insert_unwatched",
                            "INSERT INTO sliding_sync.unwatched_writes (schema_name, reason) VALUES ($1, $2)",
                            {TEXTOID, TEXTOID});
    const WriteAs writer(owner);
    const std::string schema = call_pg([&]() -> const char* {
        const char* const name = get_namespace_name(change.namespace_oid);
        return name != nullptr ? name : "";
    });
    const auto run = [&](Statement& statement) {
        const SpiConnection connection;
        statement.run(Arguments().text(schema).text(word(change.reason)));
        return statement.processed() > 0;
    };
    bool is_done = false;
    // at REPEATABLE READ the row may be gone by now
    std::optional<PgError> failure = run_in_subtransaction(
        [&] { is_done = !is_attached(change.namespace_oid) || run(hold); }, Swallow::all_but_cancel);
    if (!failure && is_done) {
        return;
    }
    failure = run_in_subtransaction([&] { run(insert); });
    if (failure) {
        call_pg([&] {
            ereport(WARNING, errcode(failure->sqlstate()),
                    errmsg("sliding_sync could not note that tables were changed without its triggers: %s",
                           failure->message()),
                    errhint("Run CALL sliding_sync.backfill() afterwards."));
        });
    }
}

}  // namespace

void note_unwatched(Relation table, UnwatchedReason reason) {
    const Oid namespace_oid = RelationGetNamespace(table);
    for (std::size_t i = 0; i < count; ++i) {
        if (unwatched[i].namespace_oid == namespace_oid && unwatched[i].reason == reason) {
            return;
        }
    }
    if (count < most_schemas) {
        unwatched[count++] = {namespace_oid, reason};
    }
}

bool has_unwatched() noexcept {
    return count > 0;
}

void write_unwatched() {
    const Oid owner = call_pg([]() -> Oid {
        const Oid schema = get_namespace_oid("sliding_sync", true);
        return OidIsValid(schema) ? relation_owner(get_relname_relid("unwatched_writes", schema))
                                  : InvalidOid;
    });
    for (std::size_t i = 0; OidIsValid(owner) && i < count; ++i) {
        write(unwatched[i], owner);
    }
    forget_unwatched();
}

void forget_unwatched() noexcept {
    count = 0;
}

}  // namespace sliding_sync
