// From noted event ids, and rooms noted as a whole, to the rooms and memberships that they concern.
#pragma once

#include "live/pending_keys.hpp"

namespace sliding_sync {

/// Owns the texts of the keys that it adds: it must outlive the changes.
class KeyResolver {
public:
    KeyResolver(const Homeserver& homeserver, const PendingKeys& keys);

    [[nodiscard]] bool has_work() const noexcept;

    /// Whether a rejection is of an event that is not there and was not there before: its room cannot be
    /// told, and who is just storing it does not see the rejection either.
    [[nodiscard]] bool rejects_missing_event();

    /// Ids to be locked, for the same reason: events that redactions name and that are not there, and those
    /// that this transaction stores and that a redaction may name.
    [[nodiscard]] std::vector<std::string_view> event_ids_to_lock();

    /// What the triggers saw may not be so: the memberships that do not know everything are looked for in
    /// every room.
    void distrust_pairs(const PendingKeys& keys);

    /// Adds what it finds; the same key may then stand in `changes` more than once. A look-up that fails is
    /// noted in quarantine.
    void resolve(Changes& changes);

private:
    std::string_view keep(std::string_view text);
    void keep_missing(std::vector<std::string_view>& event_ids);
    void add_rooms(const std::vector<std::string_view>& room_ids, Changes& changes, bool orderings);
    void add_rooms_of_redactions(Changes& changes);
    void add_memberships(const std::vector<MembershipKey>& found, Changes& changes);

    const HomeserverSchema& schema_;
    KeyLookup& lookup_;
    std::vector<std::string_view> redactions_;
    std::vector<std::string_view> new_redactions_;
    std::vector<std::string_view> rejections_;
    std::vector<std::string_view> named_events_;
    std::vector<std::string_view> stored_events_;
    std::vector<std::string_view> memberships_;
    std::vector<std::string_view> rooms_;
    std::vector<std::string_view> incomplete_rooms_;
    std::vector<MembershipKey> members_;
    std::vector<std::unique_ptr<std::string>> texts_;
};

}  // namespace sliding_sync
