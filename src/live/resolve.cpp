#include "live/resolve.hpp"

#include "live/noted.hpp"

namespace sliding_sync {

KeyResolver::KeyResolver(const Homeserver& homeserver, const NotedKeys& keys)
    : schema_(homeserver.schema), lookup_(homeserver.street.lookup) {
    for_each<NotedEvent>(keys.events, [&](const NotedEvent& event) {
        if (event.redaction) {
            redactions_.push_back(view(event.event_id));
        }
        if (event.rejection) {
            rejections_.push_back(view(event.event_id));
        }
        if (event.membership) {
            memberships_.push_back(view(event.event_id));
        }
    });
    for_each<NotedRoom>(keys.rooms, [&](const NotedRoom& room) {
        if (room.memberships) {
            rooms_.push_back(view(room.room_id));
        }
    });
}

bool KeyResolver::has_work() const noexcept {
    return !redactions_.empty() || !rejections_.empty() || !memberships_.empty() || !rooms_.empty();
}

void KeyResolver::resolve(Changes& changes) {
    const auto look_up = [&](const auto& add) {
        return sliding_sync::look_up(schema_, [&] {
            const SpiConnection connection;
            add();
        });
    };
    // Their own rooms are more than is needed, and less to fail at.
    if (!redactions_.empty() &&
        !look_up([&] { add_rooms(lookup_.rooms_of_redactions(redactions_), changes, false); })) {
        (void)look_up([&] { add_rooms(lookup_.rooms_of_events(redactions_), changes, false); });
    }
    if (!rejections_.empty()) {
        (void)look_up([&] { add_rooms(lookup_.rooms_of_events(rejections_), changes, true); });
    }
    if (!memberships_.empty()) {
        (void)look_up([&] { add_memberships(lookup_.memberships_of_events(memberships_), changes); });
    }
    if (!rooms_.empty()) {
        (void)look_up([&] { add_memberships(lookup_.memberships_of_rooms(rooms_), changes); });
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

void KeyResolver::add_memberships(const std::vector<MembershipKey>& found, Changes& changes) {
    for (const MembershipKey& key : found) {
        changes.memberships.push_back({keep(key.room_id), keep(key.user_id)});
    }
}

}  // namespace sliding_sync
