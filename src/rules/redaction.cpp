#include "rules/redaction.hpp"

#include <algorithm>

#include "rules/json.hpp"

namespace sliding_sync::rules {

namespace {

/// The server name in a user id: what follows the first colon; nothing without one.
std::optional<std::string_view> domain(std::string_view user_id) noexcept {
    const auto colon = user_id.find(':');
    if (colon == std::string_view::npos) {
        return std::nullopt;
    }
    return user_id.substr(colon + 1);
}

bool same_domain(std::string_view left, std::string_view right) noexcept {
    const auto left_domain = domain(left);
    return left_domain && left_domain == domain(right);
}

/// Rule 2 of docs/rules.md#redactions: a reader can load the redaction event and it may redact the target.
/// The version of the room is deliberately not looked at: it may be unknown or missing (H51).
bool applies(const RedactionTarget& target, const RedactionEvent& event) {
    return may_apply(target, event) && is_readable(event.json);
}

/// The ban redaction reaches as far as the target; without an end, or with 0 for one, it reaches every event.
bool covers(const BanRedaction& ban, const RedactionTarget& target) noexcept {
    const auto end = ban.redact_end_ordering.value_or(0);
    return end == 0 || (target.stream_ordering && end > *target.stream_ordering);
}

}  // namespace

bool may_apply(const RedactionTarget& target, const RedactionEvent& event) {
    return event.stored && !event.rejected && event.same_room &&
           (same_domain(event.sender, target.sender) ||
            !read_internal_metadata(event.internal_metadata).recheck_redaction);
}

bool is_redacted(const RedactionTarget& target, std::span<const Redaction> redactions,
                 std::span<const BanRedaction> ban_redactions) {
    return std::ranges::any_of(redactions,
                               [&](const Redaction& redaction) {
                                   return !redaction.recheck || applies(target, redaction.event);
                               }) ||
           std::ranges::any_of(ban_redactions, [&](const BanRedaction& ban) {
               return covers(ban, target) && applies(target, ban.event);
           });
}

}  // namespace sliding_sync::rules
