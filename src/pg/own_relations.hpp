// Statements that run with the rights of another role name tables, and a name may come to mean another table
// while the transaction runs: of a role that gains these rights by a trigger on it.
#pragma once

#include "guard/boundary.hpp"

namespace sliding_sync {

/// For its lifetime a statement of ours must not name a relation of a role other than its user, but for those
/// of superusers.
class OwnRelationsOnly {
public:
    OwnRelationsOnly() noexcept;
    ~OwnRelationsOnly();
    OwnRelationsOnly(const OwnRelationsOnly&) = delete;
    OwnRelationsOnly& operator=(const OwnRelationsOnly&) = delete;
};

/// Looks, where that is demanded, at the relations of the statement that the server plans and executes next
/// in its lifetime: when they are locked, and before anything of it runs. Raises 40001 inside the
/// server where the catalog has changed meanwhile, so that a retry may meet another one, else 42501.
class CheckedStatement {
public:
    CheckedStatement() noexcept;
    ~CheckedStatement();
    CheckedStatement(const CheckedStatement&) = delete;
    CheckedStatement& operator=(const CheckedStatement&) = delete;
};

}  // namespace sliding_sync
