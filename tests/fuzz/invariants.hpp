// What must hold for every input of a rule, however broken. The fuzz targets look for an input that breaks it; the
// unit tests run the inputs that are kept in corpus/.
#pragma once

#include <stdexcept>
#include <string_view>

namespace sliding_sync::fuzz {

/// Ends a fuzz target as a crash and a unit test as a failure, with what was expected.
class BrokenInvariant : public std::logic_error {
    using std::logic_error::logic_error;
};

inline void require(bool holds, const char* invariant) {
    if (!holds) {
        throw BrokenInvariant(invariant);
    }
}

/// The input is a document: an event, or its internal metadata.
void check_json(std::string_view document);

/// The input is an invite or a knock.
void check_stripped_state(std::string_view event_json);

/// The input is a target and its redactions; redaction_invariants.cpp tells how they are written.
void check_redaction(std::string_view lines);

}  // namespace sliding_sync::fuzz
