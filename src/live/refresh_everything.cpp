#include "live/refresh_everything.hpp"

namespace sliding_sync {

namespace {

constexpr std::int64_t keys_per_page = 1000;

using Memberships = std::vector<std::pair<std::string, std::string>>;  // a room's and a user's id

// Reads one page of keys; false when that failed, and was noted in quarantine.
bool read_page(const Homeserver& homeserver, const std::function<void()>& read) {
    return try_lookup(homeserver.schema, [&] {
        const SpiConnection connection;
        read();
    });
}

// Refreshes all rooms, page by page; false when their keys could not be read.
bool refresh_all_rooms(const Homeserver& homeserver, Refreshed& refreshed) {
    std::string after;
    while (true) {
        std::vector<std::string> page;
        const bool is_read = read_page(homeserver, [&] {
            for (const std::string_view room_id :
                 homeserver.statements.lookup.rooms_after(after, keys_per_page)) {
                page.emplace_back(room_id);
            }
        });
        if (!is_read || page.empty()) {
            return is_read;
        }
        Changes changes;
        for (const std::string& room_id : page) {
            changes.rooms.push_back(whole_room(room_id));
        }
        refreshed += refresh(homeserver, std::move(changes));
        after = page.back();
    }
}

Refreshed refresh_memberships(const Homeserver& homeserver, const Memberships& keys) {
    Changes changes;
    for (const auto& [room_id, user_id] : keys) {
        changes.memberships.push_back({room_id, user_id});
    }
    return refresh(homeserver, std::move(changes));
}

// The same for the snapshots whose membership is gone, or another one.
bool refresh_stale_memberships(const Homeserver& homeserver, Refreshed& refreshed) {
    std::pair<std::string, std::string> after;
    while (true) {
        Memberships page;
        const bool is_read = read_page(homeserver, [&] {
            for (const MembershipKey& key : homeserver.statements.lookup.stale_memberships_after(
                     {after.first, after.second}, keys_per_page)) {
                page.emplace_back(key.room_id, key.user_id);
            }
        });
        if (!is_read || page.empty()) {
            return is_read;
        }
        refreshed += refresh_memberships(homeserver, page);
        after = page.back();
    }
}

// The same for the memberships that do not know everything, in whichever room: what is gone may have kept it
// from them.
bool refresh_incomplete_memberships(const Homeserver& homeserver, Refreshed& refreshed) {
    KeyLookup& lookup = homeserver.statements.lookup;
    std::string last_room;
    while (true) {
        Memberships page;
        bool is_last = false;
        const bool is_read = read_page(homeserver, [&] {
            const auto next = lookup.memberships_between({last_room, ""}, std::nullopt, keys_per_page);
            std::vector<std::string_view> rooms;
            for (const MembershipKey& key : next.keys) {
                if (rooms.empty() || rooms.back() != key.room_id) {
                    rooms.push_back(key.room_id);
                }
            }
            for (const MembershipKey& key : lookup.incomplete_memberships_of_rooms(rooms)) {
                page.emplace_back(key.room_id, key.user_id);
            }
            is_last = rooms.empty();
            last_room = is_last ? last_room : std::string(rooms.back());
        });
        if (!is_read || is_last) {
            return is_read;
        }
        refreshed += refresh_memberships(homeserver, page);
    }
}

}  // namespace

Refreshed refresh_everything(const Homeserver& homeserver, const PendingKeys& keys, bool keep_changing) {
    if (keep_changing && (keys.all_rooms || keys.all_memberships)) {
        return remove_everything(homeserver);
    }
    Refreshed refreshed;
    const HomeserverSchema& schema = homeserver.schema;
    bool is_done = true;
    if (keys.all_rooms && schema.joined_rooms == TableShape::known) {
        is_done = refresh_all_rooms(homeserver, refreshed);
    }
    if (keys.all_rooms && schema.membership_snapshots == TableShape::known) {
        is_done = refresh_incomplete_memberships(homeserver, refreshed) && is_done;
    }
    if (keys.all_memberships && schema.membership_snapshots == TableShape::known) {
        is_done = refresh_stale_memberships(homeserver, refreshed) && is_done;
    }
    if (!is_done) {
        refreshed += remove_everything(homeserver);
    }
    return refreshed;
}

}  // namespace sliding_sync
