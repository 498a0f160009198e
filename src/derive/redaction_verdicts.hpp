// Which of some events are redacted for whoever reads them now (spec 3.6).
#pragma once

#include "derive/fact_sql.hpp"
#include "server/table_reader.hpp"

namespace sliding_sync {

/// An event that may be redacted; m.room.create never is.
struct RedactionCandidate {
    std::string_view event_id;
    std::string_view room_id;
    std::optional<std::string_view> sender;  ///< events.sender; where it is NULL the JSON tells
    std::string_view json;
    std::optional<std::int64_t> stream_ordering;
};

class RedactionVerdicts {
public:
    explicit RedactionVerdicts(const HomeserverSchema& schema);

    /// In the order of the candidates, inside an open SpiConnection.
    std::vector<bool> of(std::span<const RedactionCandidate> candidates);

private:
    friend class RedactionDoubts;
    bool has_ban_redactions_;
    TableReader redactions_of_event_;
    TableReader bans_of_room_;
    Statement redactions_;
    Statement ban_redactions_;
};

/// Which events need a verdict at all; most do not. Asked within one reading: bans concern a whole room, and are looked up
/// once for it.
class RedactionDoubts {
public:
    RedactionDoubts(RedactionVerdicts& verdicts, Reading& reading) : verdicts_(verdicts), reading_(reading) {}

    bool concern(std::string_view event_id, std::string_view room_id);

private:
    RedactionVerdicts& verdicts_;
    Reading& reading_;
    std::unordered_map<std::string_view, bool> has_bans_;
};

}  // namespace sliding_sync
