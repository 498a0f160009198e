// What rows are, and what they must be: facts -> rules.
#pragma once

#include "cli/offline/reader.hpp"

namespace sliding_sync::cli::offline {

struct RoomComparison {
    std::string room_id;
    std::optional<rules::JoinedRoom> stored;
    std::optional<rules::JoinedRoom> expected;
};

struct MembershipComparison {
    MembershipKey key;
    std::optional<rules::MembershipSnapshot> stored;
    std::optional<rules::MembershipSnapshot> expected;
    rules::SnapshotSource source = rules::SnapshotSource::none;
    bool has_source_conflict = false;
};

[[nodiscard]] std::vector<RoomComparison> compare_rooms(Reader& reader, const Texts& room_ids);
[[nodiscard]] std::vector<MembershipComparison>
compare_memberships(Reader& reader, const MembershipKeys& keys, rules::RefreshMode mode);

}  // namespace sliding_sync::cli::offline
