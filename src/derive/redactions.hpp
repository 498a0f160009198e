// Which of some events are redacted for a reader of today (docs/rules.md#redactions).
#pragma once

#include <deque>

#include "derive/fact_sql.hpp"
#include "pg/table_reader.hpp"
#include "rules/redaction.hpp"

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

    /// In the order of the candidates, inside an open SpiConnection. Reads all redactions of each, but the
    /// JSON only of those that apply if it can be read; all of them by the snapshot that showed the events.
    std::vector<bool> of(std::span<const RedactionCandidate> candidates,
                         SnapshotKind view = SnapshotKind::current);

    /// For each list of redaction ids, whether one of them redacts a relevant state event, be it current or
    /// not. What else redacts these events is not read.
    std::vector<bool> redact_state(std::span<const std::span<const std::string_view>> redaction_ids);

    /// Whether anybody's events are redacted by a ban in this room, as far as `room_ban_redactions` tells.
    bool has_bans(LookupScope& scope, std::string_view room_id);
    /// The same, true where only a statement could look, and fail: for who has no subtransaction open.
    bool may_have_bans(LookupScope& scope, std::string_view room_id);

private:
    friend class RedactionFilter;
    std::vector<std::vector<rules::Redaction>> redactions_of(std::span<const RedactionCandidate> candidates,
                                                             std::deque<std::string>& senders,
                                                             SnapshotKind view);

    bool has_ban_redactions_;
    TableReader redactions_of_event_;
    TableReader bans_of_room_;
    TableReader json_;
    Statement redactions_;
    Statement ban_redactions_;
    Statement redacted_state_;
};

enum class RedactionCheck : std::uint8_t {
    none,  ///< nothing redacts it
    some,
    /// Anybody in a room may send redactions that nobody accepts: judging them all costs too much while
    /// somebody waits.
    many,
};

/// Which events may be redacted at all: few. Asked within one reading: bans concern a whole room, and
/// are looked up once for it.
class RedactionFilter {
public:
    RedactionFilter(Redactions& redactions, LookupScope& scope) : redactions_(redactions), scope_(scope) {}

    RedactionCheck needed_check(std::string_view event_id, std::string_view room_id);

private:
    Redactions& redactions_;
    LookupScope& scope_;
    std::unordered_map<std::string_view, bool> has_bans_;
};

}  // namespace sliding_sync
