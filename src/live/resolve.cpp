#include "live/resolve.hpp"

namespace sliding_sync {

KeyResolver::KeyResolver(const Homeserver& homeserver, const PendingKeys& keys)
    : schema_(homeserver.schema), lookup_(homeserver.statements.lookup) {
    for_each<PendingEvent>(keys.events, [&](const PendingEvent& event) {
        if (event.redaction) {
            redactions_.push_back(view(event.event_id));
        } else if (event.new_redaction) {
            new_redactions_.push_back(view(event.event_id));
        }
        if (event.is_named) {
            named_events_.push_back(view(event.event_id));
        } else if (event.new_redaction) {
            stored_events_.push_back(view(event.event_id));
        }
        if (event.rejection) {
            rejections_.push_back(view(event.event_id));
        }
        if (event.membership) {
            memberships_.push_back(view(event.event_id));
        }
    });
    for_each<PendingRoom>(keys.rooms, [&](const PendingRoom& room) {
        for (const NotedEventId& state : room.state_event_ids) {
            if (state.size > 0) {
                stored_events_.emplace_back(state.data, state.size);
            }
        }
        if (room.memberships) {
            rooms_.push_back(view(room.room_id));
        } else if (room.incomplete_memberships || room.unpaired_event_ids != 0 ||
                   room.unpaired_member_ids != 0) {
            incomplete_rooms_.push_back(view(room.room_id));
        }
    });
    for_each<PendingMembership>(keys.memberships, [&](const PendingMembership& membership) {
        if (membership.may_be_remote) {
            members_.push_back({view(membership.room_id), view(membership.user_id)});
        }
    });
    if (homeserver.schema.membership_snapshots != TableShape::known) {
        // which of them are cannot be asked
        rooms_.insert(rooms_.end(), incomplete_rooms_.begin(), incomplete_rooms_.end());
        incomplete_rooms_.clear();
    }
}

bool KeyResolver::has_work() const noexcept {
    return !redactions_.empty() || !new_redactions_.empty() || !rejections_.empty() ||
           !memberships_.empty() || !rooms_.empty() || !incomplete_rooms_.empty() || !members_.empty();
}

void KeyResolver::keep_missing(std::vector<std::string_view>& event_ids) {
    const bool is_told = event_ids.empty() || try_lookup(schema_, [&] {
                             const SpiConnection connection;
                             event_ids = lookup_.missing_events(event_ids);
                         });
    if (!is_told) {
        event_ids.clear();
    }
}

bool KeyResolver::rejects_missing_event() {
    std::vector<std::string_view> missing = rejections_;
    keep_missing(missing);
    return !missing.empty();
}

std::vector<std::string_view> KeyResolver::event_ids_to_lock() {
    std::vector<std::string_view> event_ids = named_events_;
    keep_missing(event_ids);
    event_ids.insert(event_ids.end(), stored_events_.begin(), stored_events_.end());
    return event_ids;
}

void KeyResolver::distrust_pairs(const PendingKeys& keys) {
    std::vector<std::string_view>& rooms =
        schema_.membership_snapshots == TableShape::known ? incomplete_rooms_ : rooms_;
    for_each<PendingRoom>(keys.rooms, [&](const PendingRoom& room) { rooms.push_back(view(room.room_id)); });
    for (std::vector<std::string_view>* const list : {&rooms_, &incomplete_rooms_}) {
        std::sort(list->begin(), list->end());
        list->erase(std::unique(list->begin(), list->end()), list->end());
    }
}

void KeyResolver::resolve(Changes& changes) {
    const auto try_lookup = [&](const auto& add) {
        return sliding_sync::try_lookup(schema_, [&] {
            const SpiConnection connection;
            add();
        });
    };
    if (!(redactions_.empty() && new_redactions_.empty()) &&
        !try_lookup([&] { add_rooms_of_redactions(changes); })) {
        // their own rooms are more than is needed, and less to fail at
        redactions_.insert(redactions_.end(), new_redactions_.begin(), new_redactions_.end());
        (void)try_lookup([&] { add_rooms(lookup_.rooms_of_events(redactions_), changes, false); });
    }
    if (!rejections_.empty()) {
        (void)try_lookup([&] { add_rooms(lookup_.rooms_of_events(rejections_), changes, true); });
    }
    if (!memberships_.empty()) {
        (void)try_lookup([&] { add_memberships(lookup_.memberships_of_events(memberships_), changes); });
    }
    if (!rooms_.empty()) {
        (void)try_lookup([&] { add_memberships(lookup_.memberships_of_rooms(rooms_), changes); });
    }
    if (!incomplete_rooms_.empty()) {
        (void)try_lookup(
            [&] { add_memberships(lookup_.incomplete_memberships_of_rooms(incomplete_rooms_), changes); });
    }
    if (!members_.empty()) {
        (void)try_lookup([&] { add_memberships(lookup_.local_memberships(members_), changes); });
    }
}

std::string_view KeyResolver::keep(std::string_view text) {
    return *texts_.emplace_back(std::make_unique<std::string>(text));
}

void KeyResolver::add_rooms(const std::vector<std::string_view>& room_ids, Changes& changes, bool orderings) {
    for (const std::string_view room_id : room_ids) {
        RoomChange change;
        change.room_id = keep(room_id);
        change.state = true;
        change.orderings = orderings;
        changes.rooms.push_back(change);
    }
}

void KeyResolver::add_rooms_of_redactions(Changes& changes) {
    std::vector<RoomChange> rooms;
    if (!redactions_.empty()) {
        for (const RoomOfRedaction& found : lookup_.rooms_of_redactions(redactions_)) {
            rooms.emplace_back();
            rooms.back().room_id = keep(found.room_id);
            rooms.back().state = true;
        }
    }
    if (!new_redactions_.empty()) {
        for (const RoomOfRedaction& found : lookup_.rooms_of_redactions(new_redactions_)) {
            rooms.emplace_back();
            rooms.back().room_id = keep(found.room_id);
            rooms.back().new_redactions.push_back(keep(found.redaction_id));
        }
    }
    changes.rooms.insert(changes.rooms.end(), rooms.begin(), rooms.end());
}

void KeyResolver::add_memberships(const std::vector<MembershipKey>& found, Changes& changes) {
    for (const MembershipKey& key : found) {
        changes.memberships.push_back({keep(key.room_id), keep(key.user_id)});
    }
}

}  // namespace sliding_sync
