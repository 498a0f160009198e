// The identity and the settings under which the derived tables and our own are read and written.
#pragma once

#include "derive/cursors.hpp"
#include "pg/own_relations.hpp"
#include "pg/transaction.hpp"

namespace sliding_sync {

/// Reads and writes as the owner of the tables for its lifetime, as foreign key checks do: the role that
/// changed the base tables needs no rights on the derived ones, and no code of theirs runs with more rights
/// than they have. A transaction that became read only after its changes may still be completed.
///
/// Where the session is not the owner's own, the owner's code (triggers, rules, views, policies, index
/// expressions) is kept from the session as in VACUUM and REINDEX: a security-restricted operation under a
/// search_path of its own. It makes no temporary tables, prepared statements or cursors, what it sets is set
/// back, and deferred triggers fire at once. Cursors of the session are out of its reach, and those that it
/// opens are closed. Errors leave it without their DETAIL, unless the statement's user has the owner's
/// rights. A statement that would meet a relation of a third role fails. Where an exception ends it, the
/// (sub)transaction that is aborted sets everything back.
class WriteAs {
public:
    explicit WriteAs(Oid owner);
    ~WriteAs();
    WriteAs(const WriteAs&) = delete;
    WriteAs& operator=(const WriteAs&) = delete;

    /// True inside one that is restricted: what is changed there is refreshed at commit, restricted as well.
    [[nodiscard]] static bool is_restricting() noexcept;

private:
    Oid user_ = InvalidOid;
    int security_context_ = 0;
    class Restriction {
    public:
        Restriction() noexcept;
        ~Restriction();
        Restriction(const Restriction&) = delete;
        Restriction& operator=(const Restriction&) = delete;

    private:
        OwnSettings settings_;
        OutOfReach cursors_;
    };

    // Set back after the settings, among which the server counts it.
    class Writable {
    public:
        Writable() noexcept;
        ~Writable();
        Writable(const Writable&) = delete;
        Writable& operator=(const Writable&) = delete;

    private:
        bool was_read_only_;
    };

    OwnRelationsOnly own_relations_;
    int exceptions_;
    bool has_rights_ = true;  // the one who runs the statement has those of the owner, too
    Writable writable_;
    std::optional<Restriction> restriction_;
};

}  // namespace sliding_sync
