#include "live/flush.hpp"

#include "derive/corrections.hpp"
#include "derive/write_as.hpp"
#include "live/bypassed_writes.hpp"
#include "live/lost_rows.hpp"
#include "live/refresh_everything.hpp"
#include "live/resolve.hpp"

extern "C" {
#include "access/xact.h"
#include "commands/trigger.h"
#include "portability/instr_time.h"
}

namespace sliding_sync {

namespace {

// More rounds than a chain of triggers on the derived tables needs, and few enough for a big room. What a
// trigger changes again whenever its row is written loses the row in the rounds after that.
constexpr int max_rounds = 10;

LastFlush last;

std::optional<std::int64_t> known(std::int64_t value, std::int64_t none) noexcept {
    return value == none ? std::nullopt : std::optional<std::int64_t>(value);
}

RoomChange room_change(const PendingRoom& room, bool distrust) {
    RoomChange change;
    change.room_id = view(room.room_id);
    change.orderings = room.orderings || distrust;
    change.state = room.state || distrust || room.unpaired_event_ids != 0;
    change.may_be_rewritten = room.may_be_rewritten;
    change.latest = known(room.latest, PG_INT64_MIN);
    change.latest_bump = known(room.latest_bump, PG_INT64_MIN);
    change.latest_event_id = {room.latest_event_id.data, room.latest_event_id.size};
    change.latest_bump_event_id = {room.latest_bump_event_id.data, room.latest_bump_event_id.size};
    change.has_member_events = room.member_events;
    change.oldest_new = known(room.oldest_new, PG_INT64_MAX);
    return change;
}

// Some are noted for their memberships only.
bool concerns_room(const PendingRoom& room) noexcept {
    return !room.incomplete_memberships || room.orderings || room.state || room.may_be_rewritten ||
           room.unpaired_event_ids != 0 || room.latest != PG_INT64_MIN || room.oldest_new != PG_INT64_MAX;
}

void add(Changes& changes, const PendingMembership& membership) {
    if (membership.may_be_remote) {
        return;  // KeyResolver looks
    }
    const MembershipKey key{view(membership.room_id), view(membership.user_id)};
    changes.memberships.push_back(key);
    if (membership.before != BeforeTransaction::unknown) {
        changes.before.emplace(key, membership.before == BeforeTransaction::membership
                                        ? view(membership.event_id_before)
                                        : std::string_view());
    }
}

// Each key once; what is known of a room from several sides is put together.
void merge(Changes& changes) {
    std::sort(changes.rooms.begin(), changes.rooms.end(),
              [](const RoomChange& a, const RoomChange& b) { return a.room_id < b.room_id; });
    std::vector<RoomChange> rooms;
    for (const RoomChange& room : changes.rooms) {
        if (rooms.empty() || rooms.back().room_id != room.room_id) {
            rooms.push_back(room);
            continue;
        }
        RoomChange& merged = rooms.back();
        merged.orderings = merged.orderings || room.orderings;
        merged.state = merged.state || room.state;
        merged.may_be_rewritten = merged.may_be_rewritten || room.may_be_rewritten;
        if (room.latest) {  // from a trigger, which knows a room once
            merged.latest = room.latest;
            merged.latest_bump = room.latest_bump;
            merged.latest_event_id = room.latest_event_id;
            merged.latest_bump_event_id = room.latest_bump_event_id;
        }
        merged.oldest_new = merged.oldest_new ? merged.oldest_new : room.oldest_new;
        merged.has_member_events = merged.has_member_events || room.has_member_events;
        merged.new_redactions.insert(merged.new_redactions.end(), room.new_redactions.begin(),
                                     room.new_redactions.end());
    }
    changes.rooms = std::move(rooms);
    std::sort(changes.memberships.begin(), changes.memberships.end());
    changes.memberships.erase(std::unique(changes.memberships.begin(), changes.memberships.end()),
                              changes.memberships.end());
}

// Where the derived tables have triggers of their owner, what these put off would fail with no subtransaction
// open. The server has fired what others have put off before, and no statement of theirs follows.
void set_constraints_immediate(const Homeserver& homeserver) {
    if (homeserver.schema.may_defer && !WriteAs::is_restricting()) {
        const SpiConnection connection;
        run_once("SET CONSTRAINTS ALL IMMEDIATE");
    }
}

// A redaction or a rejection of an event that another transaction is just storing cannot tell its room, and
// the other one does not see the change: they meet in these locks. Returns whether a rejection may have come
// meanwhile.
bool lock_flush(const HomeserverSchema& schema, KeyResolver& resolver) {
    const auto wait = [&](const auto& acquire) {
        (void)try_lookup(schema, [&] {
            const ShortWaits short_waits;
            acquire();
        });
    };
    const std::vector<std::string_view> event_ids = resolver.event_ids_to_lock();
    if (!event_ids.empty() && !lock_event_ids(schema.namespace_oid, event_ids, false)) {
        wait([&] { (void)lock_event_ids(schema.namespace_oid, event_ids, true); });
    }
    const bool is_alone = resolver.rejects_missing_event();
    if (!is_alone && try_flush_lock(schema.namespace_oid)) {
        return false;
    }
    wait([&] { wait_for_flush_lock(schema.namespace_oid, is_alone); });
    return true;
}

// Nothing to write to when a homeserver has neither table.
bool has_derived_tables(const Homeserver& homeserver) noexcept {
    return OidIsValid(homeserver.schema.derived_owner);
}

Refreshed refresh_pending(const PendingKeys& keys, bool keep_changing = false) {
    hear_of_changes();
    const auto held = homeserver_in(keys.namespace_oid);
    const Homeserver& homeserver = *held;
    if (!has_derived_tables(homeserver)) {
        return {};
    }
    const WriteAs owner(homeserver.schema.derived_owner);
    KeyResolver resolver(homeserver, keys);  // owns the texts it adds, until the refresh is done
    // what was inserted may be gone again, if triggers were off or not there for a while
    const bool distrust = lock_flush(homeserver.schema, resolver) || hints_are_distrusted() ||
                          has_bypassed_writes() || keys.generation != catalog_generation();
    if (distrust || keys.all_rooms || keys.all_memberships) {
        resolver.distrust_pairs(keys);
    }
    Changes changes;
    for_each<PendingRoom>(keys.rooms, [&](const PendingRoom& room) {
        if (distrust || concerns_room(room)) {
            changes.rooms.push_back(room_change(room, distrust));
        }
    });
    for_each<PendingMembership>(keys.memberships,
                                [&](const PendingMembership& membership) { add(changes, membership); });
    if (keys.unreadable) {
        return remove_everything(homeserver);
    }
    Refreshed refreshed = refresh_everything(homeserver, keys, keep_changing);
    if (resolver.has_work()) {
        resolver.resolve(changes);
        merge(changes);
    }
    for (RoomChange& room : changes.rooms) {
        room.is_later_flush = keys.is_later_flush;
    }
    changes.keep_changing = keep_changing;
    refreshed += refresh(homeserver, std::move(changes));
    return refreshed;
}

void forget_at_end(XactEvent event) {
    switch (event) {
    case XACT_EVENT_COMMIT:
    case XACT_EVENT_ABORT:
    case XACT_EVENT_PREPARE:
    case XACT_EVENT_PARALLEL_COMMIT:
    case XACT_EVENT_PARALLEL_ABORT:
        forget_pending_keys();
        forget_lost_rows();
        forget_bypassed_writes();
        forget_lock_timeouts();
        forget_own_rows();
        break;
    default:
        break;
    }
}

void transaction_callback(XactEvent event, void*) {
    if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE) {
        if (has_pending_keys()) {
            enter_cpp([] { flush_before_commit(); });
        }
        if (has_lost_rows()) {
            enter_cpp([] { record_lost_rows(); });
        }
        if (has_bypassed_writes()) {
            enter_cpp([] { write_bypassed_writes(); });
        }
        return;
    }
    forget_at_end(event);
}

void subtransaction_callback(SubXactEvent event, SubTransactionId, SubTransactionId, void*) {
    if (event == SUBXACT_EVENT_ABORT_SUB) {
        distrust_hints();
    }
}

}  // namespace

void flush_before_commit() {
    instr_time start;
    INSTR_TIME_SET_CURRENT(start);
    Refreshed refreshed;
    for (int round = 0; has_pending_keys(); ++round) {
        if (round == 2 * max_rounds) {
            throw Error(ERRCODE_PROGRAM_LIMIT_EXCEEDED,
                        "sliding_sync gave up: the derived tables' own triggers never stop changing rooms",
                        "Nor did they stop when the rows were removed.",
                        "Look for user-made triggers on the tables sliding_sync_joined_rooms and "
                        "sliding_sync_membership_snapshots.");
        }
        for (const PendingKeys* keys = take_pending_keys(); keys != nullptr; keys = keys->next) {
            if (const auto homeserver = homeserver_in(keys->namespace_oid); has_derived_tables(*homeserver)) {
                const WriteAs owner(homeserver->schema.derived_owner);
                set_constraints_immediate(*homeserver);
            }
            refreshed += refresh_pending(*keys, round >= max_rounds);
            // Deferred constraints and triggers that our own writes have queued would be lost from here on
            // (docs/architecture.md#flush). They run as the tables' owner, not as whoever commits.
            if (const auto homeserver = homeserver_in(keys->namespace_oid); has_derived_tables(*homeserver)) {
                const WriteAs owner(homeserver->schema.derived_owner);
                call_pg([] { AfterTriggerFireDeferred(); });
            }
        }
    }
    instr_time duration;
    INSTR_TIME_SET_CURRENT(duration);
    INSTR_TIME_SUBTRACT(duration, start);
    last = {refreshed, static_cast<double>(INSTR_TIME_GET_MICROSEC(duration)), true};
}

Refreshed flush_now() {
    Refreshed refreshed;
    for (const PendingKeys* keys = current_pending_keys(); keys != nullptr; keys = keys->next) {
        refreshed += refresh_pending(*keys);
    }
    return refreshed;
}

const LastFlush& last_flush() noexcept {
    return last;
}

void watch_transactions() {
    RegisterXactCallback(transaction_callback, nullptr);
    RegisterSubXactCallback(subtransaction_callback, nullptr);
}

}  // namespace sliding_sync
