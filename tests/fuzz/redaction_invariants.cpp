// The input is text, so that a kept one can be read. Fields are separated by tabs:
//     target sender, ordering
//     flags, sender, event json, internal metadata, end ordering     one line a redaction
// Flags are letters: b ban redaction, u unconditional (no recheck), s stored, x rejected, o other room.
// What is missing is empty; an ordering that is no number is none.
#include "invariants.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "rules/json.hpp"
#include "rules/redaction.hpp"

namespace sliding_sync::fuzz {

namespace {

using rules::BanRedaction;
using rules::is_redacted;
using rules::Redaction;
using rules::RedactionEvent;
using rules::RedactionTarget;

constexpr std::size_t most_redactions = 32;

/// Cuts the text up to the separator off its front.
std::string_view take(std::string_view& text, char separator) {
    const auto end = std::min(text.find(separator), text.size());
    const auto front = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return front;
}

std::optional<std::int64_t> number(std::string_view text) {
    std::int64_t value = 0;
    const auto* const end = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data(), end, value);
    return error == std::errc() && stopped == end ? std::optional(value) : std::nullopt;
}

struct Input {
    RedactionTarget target;
    std::vector<Redaction> redactions;
    std::vector<BanRedaction> bans;
};

Input parse(std::string_view lines) {
    Input input;
    std::string_view line = take(lines, '\n');
    input.target.sender = take(line, '\t');
    input.target.stream_ordering = number(take(line, '\t'));
    while (!lines.empty() && input.redactions.size() + input.bans.size() < most_redactions) {
        line = take(lines, '\n');
        const auto flags = take(line, '\t');
        const auto has = [&](char flag) { return flags.find(flag) != std::string_view::npos; };
        RedactionEvent event;
        event.stored = has('s');
        event.rejected = has('x');
        event.same_room = !has('o');
        event.sender = take(line, '\t');
        event.json = take(line, '\t');
        event.internal_metadata = take(line, '\t');
        if (has('b')) {
            input.bans.push_back({number(take(line, '\t')), event});
        } else {
            input.redactions.push_back({!has('u'), event});
        }
    }
    return input;
}

/// One of the lists' entries on its own.
bool alone(const RedactionTarget& target, const Redaction& redaction) {
    return is_redacted(target, {&redaction, 1}, {});
}
bool alone(const RedactionTarget& target, const BanRedaction& ban) {
    return is_redacted(target, {}, {&ban, 1});
}

// No redaction takes another one's effect away, and the order is no matter.
void check_sum(const Input& input) {
    bool any = false;
    require(!is_redacted(input.target, {}, {}), "without a redaction nothing is redacted");
    const std::span<const Redaction> redactions(input.redactions);
    for (std::size_t i = 0; i < redactions.size(); ++i) {
        any = any || alone(input.target, redactions[i]);
        require(is_redacted(input.target, redactions.first(i + 1), {}) == any, "a redaction only adds");
    }
    const std::span<const BanRedaction> bans(input.bans);
    for (std::size_t i = 0; i < bans.size(); ++i) {
        any = any || alone(input.target, bans[i]);
        require(is_redacted(input.target, redactions, bans.first(i + 1)) == any, "a ban redaction only adds");
    }
    Input reversed = input;
    std::ranges::reverse(reversed.redactions);
    std::ranges::reverse(reversed.bans);
    require(is_redacted(reversed.target, reversed.redactions, reversed.bans) == any, "order is no matter");
}

// Rules 2 and 3 of docs/rules.md#redactions ask the same of the event.
template <class AnyRedaction>
void check_event(const RedactionTarget& target, const AnyRedaction& redaction) {
    const bool redacted = alone(target, redaction);
    const RedactionEvent& event = redaction.event;
    require(!redacted ||
                (event.stored && !event.rejected && event.same_room && rules::is_readable(event.json)),
            "only a loadable redaction of the same room redacts");
    AnyRedaction changed = redaction;
    changed.event.internal_metadata = "{}";
    require(!redacted || alone(target, changed), "the sender's server is asked only where metadata says so");
    changed = redaction;
    changed.event.sender = target.sender;
    require(!redacted || target.sender.find(':') == std::string_view::npos || alone(target, changed),
            "a server may redact its own users' events");
    changed = redaction;
    changed.event.sender = "no user id";
    require(!alone(target, changed) ||
                !rules::read_internal_metadata(event.internal_metadata).recheck_redaction,
            "without a domain there is no same domain");
    for (bool RedactionEvent::*flag : {&RedactionEvent::stored, &RedactionEvent::same_room}) {
        changed = redaction;
        changed.event.*flag = false;
        require(!alone(target, changed), "an event that is not there does not redact");
    }
}

void check_ban(const RedactionTarget& target, const BanRedaction& ban) {
    const bool redacted = alone(target, ban);
    BanRedaction changed = ban;
    changed.redact_end_ordering.reset();
    const bool without_end = alone(target, changed);
    require(!redacted || without_end, "a ban redaction without an end reaches further");
    changed.redact_end_ordering = 0;
    require(alone(target, changed) == without_end, "an end of 0 is no end");
    if (target.stream_ordering && target.stream_ordering < std::numeric_limits<std::int64_t>::max()) {
        changed.redact_end_ordering = target.stream_ordering;
        require(!alone(target, changed) || target.stream_ordering == 0, "the end itself is not reached");
        changed.redact_end_ordering = *target.stream_ordering + 1;
        require(alone(target, changed) == without_end, "what is before the end is reached");
    }
}

}  // namespace

void check_redaction(std::string_view lines) {
    const Input input = parse(lines);
    check_sum(input);
    for (const Redaction& redaction : input.redactions) {
        if (redaction.recheck) {
            check_event(input.target, redaction);
        } else {
            require(alone(input.target, redaction), "an unconditional redaction redacts");
        }
    }
    for (const BanRedaction& ban : input.bans) {
        check_event(input.target, ban);
        check_ban(input.target, ban);
    }
}

}  // namespace sliding_sync::fuzz
