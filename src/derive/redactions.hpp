// Which of some events are redacted for a reader of today (docs/rules.md#redactions).
#pragma once

#include "derive/fact_sql.hpp"
#include "pg/table_reader.hpp"

namespace sliding_sync {

/// An event that may be redacted; m.room.create never is.
struct RedactionCandidate {
    std::string_view event_id;
    std::string_view room_id;
    std::optional<std::string_view> sender;  ///< events.sender; where it is NULL the JSON tells
    std::string_view json;
    std::optional<std::int64_t> stream_ordering;
};

class Redactions {
public:
    explicit Redactions(const HomeserverSchema& schema);

    /// In the order of the candidates, inside an open SpiConnection.
    std::vector<bool> of(std::span<const RedactionCandidate> candidates);

private:
    friend class RedactionFilter;
    bool has_ban_redactions_;
    TableReader redactions_of_event_;
    TableReader bans_of_room_;
    Statement redactions_;
    Statement ban_redactions_;
};

/// Which events need a verdict at all; most do not. Asked within one reading: bans concern a whole room, and are looked up
/// once for it.
class RedactionFilter {
public:
    RedactionFilter(Redactions& verdicts, LookupScope& scope) : verdicts_(verdicts), scope_(scope) {}

    bool concern(std::string_view event_id, std::string_view room_id);

private:
    Redactions& verdicts_;
    LookupScope& scope_;
    std::unordered_map<std::string_view, bool> has_bans_;
};

}  // namespace sliding_sync
