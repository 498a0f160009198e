// One attached homeserver, as this backend knows it: its schema's shape and the statements made for that
// shape.
#pragma once

#include "derive/failure.hpp"
#include "derive/key_lookup.hpp"
#include "derive/membership_facts.hpp"
#include "derive/message_fast_path.hpp"
#include "derive/references.hpp"
#include "derive/room_history.hpp"

namespace sliding_sync {

/// The statements for one shape of the schema.
struct Statements {
    explicit Statements(const HomeserverSchema& schema);

    DerivedTable<JoinedRooms> joined_rooms;
    DerivedTable<MembershipSnapshots> snapshots;
    MessageFastPath message_fast_path;
    Redactions redacted;
    StateGroups state_groups;
    RoomFacts rooms;
    RoomHistories histories;
    MembershipFacts memberships;
    KeyLookup lookup;
    References references;
};

/// One shape of the schema and its statements. A caller holds it while it works with it: code of the tables'
/// owner that runs in between may change the shape, and the next one to ask gets another.
struct Homeserver {
    explicit Homeserver(HomeserverSchema shape) : schema(std::move(shape)), statements(schema) {}

    /// As joined_rooms_is_plain, looked up when somebody asks. Raises PgError.
    [[nodiscard]] bool snapshots_are_plain() const;
    /// False when that was told otherwise than the catalog has it now. Raises PgError.
    [[nodiscard]] bool is_still_true() const;

    const HomeserverSchema schema;
    mutable Statements statements;

private:
    mutable std::optional<bool> snapshots_are_plain_;
};

/// The homeserver whose tables live in this schema; looks its shape up again when the catalog has changed, as
/// far as the session has heard of it: see hear_of_changes().
[[nodiscard]] std::shared_ptr<Homeserver> homeserver_in(Oid namespace_oid);

/// Locks these derived tables for writing. Whoever will write does so before reading: a reader's lock lets
/// REINDEX take the table, which then waits for the index that was read, and the writer for REINDEX. Raises
/// PgError.
void lock_to_write(const HomeserverSchema& schema, std::span<const char* const> tables);

/// The same, and tells whether all look still as `homeserver` says: then nobody
/// puts a trigger on one of them until the transaction ends. For what is written without a subtransaction.
[[nodiscard]] bool stay_plain(const Homeserver& homeserver, std::span<const char* const> tables);

}  // namespace sliding_sync
