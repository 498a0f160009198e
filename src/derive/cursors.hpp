// Cursors of a session, and the code of others that runs in it.
#pragma once

#include <string>
#include <vector>

namespace sliding_sync {

/// For its lifetime, the cursors that are open cannot be fetched from or closed; those that are opened
/// meanwhile are closed at its end. Where an exception ends it, the (sub)transaction that is aborted closes
/// them.
class OutOfReach {
public:
    OutOfReach();
    ~OutOfReach();
    OutOfReach(const OutOfReach&) = delete;
    OutOfReach& operator=(const OutOfReach&) = delete;

private:
    int exceptions_;
    std::vector<std::string> there_;   // when it began
    std::vector<std::string> closed_;  // those of them that it has put out of reach
};

}  // namespace sliding_sync
