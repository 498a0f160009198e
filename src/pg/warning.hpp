// Warnings that cannot fail the transaction that they are about.
#pragma once

#include "guard/boundary.hpp"

namespace sliding_sync {

struct Warning {
    int sqlstate;
    std::string message;
    std::string detail;
    std::string hint;
};

/// Sends it, in ASCII where the client's encoding may lack a character: a text that cannot be converted is an
/// error.
void warn_client(const Warning& warning);

}  // namespace sliding_sync
