#include "rules/membership_snapshot.hpp"

#include <gtest/gtest.h>
#include <initializer_list>
#include <ostream>
#include <utility>

namespace sliding_sync::rules {

void PrintTo(const MembershipSnapshot& row, std::ostream* out) {
    *out << "{sender " << row.sender << ", event " << row.membership_event_id << ", membership "
         << row.membership << ", forgotten " << row.forgotten << ", ordering " << row.event_stream_ordering
         << ", instance " << row.event_instance_name << ", known " << row.has_known_state << ", type "
         << row.state.room_type.value_or("NULL") << ", name " << row.state.room_name.value_or("NULL")
         << ", encrypted " << row.state.is_encrypted << ", successor "
         << row.state.tombstone_successor_room_id.value_or("NULL") << '}';
}

namespace {

constexpr std::string_view out_of_band = R"({"out_of_band_membership":true})";

/// Stripped state with a name; readable for an invite and for a knock.
constexpr std::string_view stripped_json =
    R"({"unsigned":{"invite_room_state":[)"
    R"({"type":"m.room.create","state_key":"","sender":"@a:b","content":{}},)"
    R"({"type":"m.room.name","state_key":"","sender":"@a:b","content":{"name":"Invited"}}],)"
    R"("knock_room_state":[)"
    R"({"type":"m.room.create","state_key":"","sender":"@a:b","content":{}},)"
    R"({"type":"m.room.name","state_key":"","sender":"@a:b","content":{"name":"Knocked"}}]}})";

RoomState named(std::string name) {
    return {.room_type = {},
            .room_name = std::move(name),
            .is_encrypted = false,
            .tombstone_successor_room_id = {}};
}

MembershipSnapshot previous_snapshot() {
    return {
        .room_id = "!room:example.org",
        .user_id = "@me:example.org",
        .sender = "@old:example.org",
        .membership_event_id = "$old",
        .membership = "invite",
        .forgotten = true,
        .event_stream_ordering = 3,
        .event_instance_name = "old_instance",
        .has_known_state = true,
        .state = {"m.space", "Previous", true, "!next:example.org"},
    };
}

/// A membership that changed, in a room whose state the homeserver knows.
MembershipFacts facts(std::string membership) {
    MembershipFacts result;
    result.room_id = "!room:example.org";
    result.user_id = "@me:example.org";
    result.in_rooms = true;
    result.event_id = "$new";
    result.membership = std::move(membership);
    result.event_stored = true;
    result.stream_ordering = 7;
    result.sender = "@sender:example.org";
    result.instance_name = "persister1";
    result.json = stripped_json;
    result.internal_metadata = "{}";
    result.forgotten = 0;
    result.in_current_state = false;
    result.room_has_current_state = true;
    result.room_had_current_state = true;
    return result;
}

/// A membership that came over federation, in a room that the homeserver is not in.
MembershipFacts out_of_band_facts(std::string membership) {
    auto result = facts(std::move(membership));
    result.outlier = true;
    result.internal_metadata = out_of_band;
    result.room_has_current_state = false;
    result.room_had_current_state = false;
    return result;
}

/// A membership in a room without current state, by an ordinary event.
MembershipFacts wiped_facts(std::string membership) {
    auto result = facts(std::move(membership));
    result.room_has_current_state = false;
    return result;
}

SnapshotInput input_with_state() {
    SnapshotInput input;
    input.state_events[static_cast<std::size_t>(StateKind::name)] = {.json =
                                                                         R"({"content":{"name":"Current"}})"};
    input.earlier_invite_json = stripped_json;
    input.earlier_invite_membership = "knock";
    return input;
}

using Memberships = std::initializer_list<const char*>;
constexpr Memberships all_memberships{"join", "invite", "knock", "leave", "ban", "org.example.odd", ""};
constexpr Memberships invite_like{"invite", "knock"};
constexpr Memberships leave_like{"leave", "ban", "join", "org.example.odd", ""};  // H62

// ---- snapshot_source: no row ----

TEST(SnapshotSourceNone, NoMembership) {
    auto input = facts("join");
    input.event_id.clear();
    EXPECT_EQ(snapshot_source(input), SnapshotSource::none);
}

// H50
TEST(SnapshotSourceNone, RoomNotInRooms) {
    auto input = facts("join");
    input.in_rooms = false;
    EXPECT_EQ(snapshot_source(input), SnapshotSource::none);
}

// H48
TEST(SnapshotSourceNone, EventNotStored) {
    auto input = facts("join");
    input.event_stored = false;
    EXPECT_EQ(snapshot_source(input), SnapshotSource::none);
}

// H72
TEST(SnapshotSourceNone, NoStreamOrdering) {
    auto input = facts("join");
    input.stream_ordering.reset();
    EXPECT_EQ(snapshot_source(input), SnapshotSource::none);
}

// H46
TEST(SnapshotSourceNone, NoSenderAnywhere) {
    for (const auto* json : {"", "{}", R"({"sender":null})", R"({"sender":7})", R"({"sender":"\u0000"})",
                             R"({"content":{"sender":"@a:b"}})", R"({"sender":"@a:b")"}) {
        auto input = facts("join");
        input.sender.reset();
        input.json = json;
        EXPECT_EQ(snapshot_source(input), SnapshotSource::none) << json;
    }
}

TEST(SnapshotSourceNone, ComesBeforeEverythingElse) {
    auto input = facts("join");
    input.membership_unchanged = true;
    input.previous = previous_snapshot();
    input.in_current_state = true;
    input.event_stored = false;
    EXPECT_EQ(snapshot_source(input), SnapshotSource::none);
}

// ---- snapshot_source: the membership did not change (A5, D23, D24, H28) ----

TEST(SnapshotSourceUnchanged, KeepsThePreviousSnapshot) {
    for (const auto* membership : all_memberships) {
        auto input = facts(membership);
        input.membership_unchanged = true;
        input.in_current_state = true;
        input.previous = previous_snapshot();
        EXPECT_EQ(snapshot_source(input), SnapshotSource::keep) << membership;
        input = out_of_band_facts(membership);
        input.membership_unchanged = true;
        input.previous = previous_snapshot();
        EXPECT_EQ(snapshot_source(input), SnapshotSource::keep) << membership;
    }
}

// What nothing is known of is looked for again: its event, or the room's state, may have been stored since.
TEST(SnapshotSourceUnchanged, PreviousSnapshotThatKnowsNothing) {
    const auto source = [](MembershipFacts input) {
        input.membership_unchanged = true;
        input.previous = previous_snapshot();
        input.previous->has_known_state = false;
        return snapshot_source(input);
    };
    EXPECT_EQ(source(facts("join")), SnapshotSource::current_state);
    EXPECT_EQ(source(facts("leave")), SnapshotSource::keep);
    EXPECT_EQ(source(out_of_band_facts("leave")), SnapshotSource::earlier_invite);
    for (const auto* membership : {"invite", "knock"}) {
        EXPECT_EQ(source(facts(membership)), SnapshotSource::stripped_state) << membership;
        EXPECT_EQ(source(out_of_band_facts(membership)), SnapshotSource::stripped_state) << membership;
    }
}

TEST(SnapshotSourceUnchanged, WithoutPreviousSnapshot) {
    const std::pair<const char*, SnapshotSource> cases[]{
        {"join", SnapshotSource::current_state},
        {"invite", SnapshotSource::stripped_state},
        {"knock", SnapshotSource::stripped_state},
        {"leave", SnapshotSource::unknown_history},
        {"ban", SnapshotSource::unknown_history},
        {"", SnapshotSource::unknown_history},
        {"org.example.odd", SnapshotSource::unknown_history},
    };
    for (const auto& [membership, expected] : cases) {
        auto input = facts(membership);
        input.membership_unchanged = true;
        EXPECT_EQ(snapshot_source(input), expected) << membership;
        // whether the event is in current state does not change that
        input.in_current_state = true;
        EXPECT_EQ(snapshot_source(input), expected) << membership;
        input = out_of_band_facts(membership);
        input.membership_unchanged = true;
        EXPECT_EQ(snapshot_source(input), expected) << membership;
        input = wiped_facts(membership);
        input.membership_unchanged = true;
        EXPECT_EQ(snapshot_source(input), expected) << membership;
    }
}

// ---- snapshot_source: changed memberships (docs/rules.md#live-mode) ----

// docs/rules.md#live-mode, line 5 comes before line 6: O13, H80, an out-of-band invite in the state of a room
// joined since.
TEST(SnapshotSourceChanged, InCurrentState) {
    for (const auto* membership : all_memberships) {
        auto input = facts(membership);
        input.in_current_state = true;
        EXPECT_EQ(snapshot_source(input), SnapshotSource::current_state) << membership;
        input = out_of_band_facts(membership);
        input.in_current_state = true;
        input.previous = previous_snapshot();
        EXPECT_EQ(snapshot_source(input), SnapshotSource::current_state) << membership;
    }
}

// docs/rules.md#live-mode, line 6
TEST(SnapshotSourceChanged, OutOfBandInviteOrKnock) {
    for (const auto* membership : invite_like) {
        for (const bool room_has_state : {false, true}) {
            auto input = out_of_band_facts(membership);
            input.room_has_current_state = room_has_state;
            EXPECT_EQ(snapshot_source(input), SnapshotSource::stripped_state) << membership;
            input.previous = previous_snapshot();
            EXPECT_EQ(snapshot_source(input), SnapshotSource::stripped_state) << membership;
        }
    }
}

// docs/rules.md#live-mode, line 7: leave = inherit. D22: without a previous snapshot, the earlier invite.
TEST(SnapshotSourceChanged, OutOfBandLeave) {
    for (const auto* membership : leave_like) {
        for (const bool room_has_state : {false, true}) {
            for (const bool room_had_state : {false, true}) {
                auto input = out_of_band_facts(membership);
                input.room_has_current_state = room_has_state;
                input.room_had_current_state = room_had_state;
                EXPECT_EQ(snapshot_source(input), SnapshotSource::earlier_invite) << membership;
                input.previous = previous_snapshot();
                EXPECT_EQ(snapshot_source(input), SnapshotSource::inherit) << membership;
            }
        }
    }
}

// H85: one flag alone is not out-of-band.
TEST(SnapshotSourceChanged, OutOfBandNeedsBothFlags) {
    for (const auto* membership : all_memberships) {
        auto input = facts(membership);
        input.outlier = true;
        EXPECT_EQ(snapshot_source(input), SnapshotSource::current_state) << membership;
        input.internal_metadata = R"({"out_of_band_membership":false})";
        EXPECT_EQ(snapshot_source(input), SnapshotSource::current_state) << membership;
        input = facts(membership);
        input.internal_metadata = out_of_band;
        EXPECT_EQ(snapshot_source(input), SnapshotSource::current_state) << membership;
    }
}

// docs/rules.md#internal-metadata: metadata that cannot be read says nothing.
TEST(SnapshotSourceChanged, UnreadableMetadataIsNotOutOfBand) {
    auto input = out_of_band_facts("invite");
    input.room_has_current_state = true;
    input.internal_metadata = std::string(out_of_band) + "x";
    EXPECT_EQ(snapshot_source(input), SnapshotSource::current_state);
}

// docs/rules.md#live-mode, line 8, H7: the last local user left.
TEST(SnapshotSourceChanged, StateWipedInThisTransaction) {
    for (const auto* membership : all_memberships) {
        auto input = wiped_facts(membership);
        EXPECT_EQ(snapshot_source(input), SnapshotSource::wiped_state) << membership;
        input.previous = previous_snapshot();
        EXPECT_EQ(snapshot_source(input), SnapshotSource::wiped_state) << membership;
    }
}

// docs/rules.md#live-mode, line 9, H8: nothing was there to wipe.
TEST(SnapshotSourceChanged, NoStateAtAll) {
    for (const auto* membership : invite_like) {
        auto input = wiped_facts(membership);
        input.room_had_current_state = false;
        EXPECT_EQ(snapshot_source(input), SnapshotSource::stripped_state) << membership;
        input.previous = previous_snapshot();
        EXPECT_EQ(snapshot_source(input), SnapshotSource::stripped_state) << membership;
    }
    for (const auto* membership : leave_like) {
        auto input = wiped_facts(membership);
        input.room_had_current_state = false;
        EXPECT_EQ(snapshot_source(input), SnapshotSource::earlier_invite) << membership;
        input.previous = previous_snapshot();
        EXPECT_EQ(snapshot_source(input), SnapshotSource::inherit) << membership;
    }
}

TEST(SnapshotSourceChanged, OtherwiseCurrentState) {
    for (const auto* membership : all_memberships) {
        auto input = facts(membership);
        EXPECT_EQ(snapshot_source(input), SnapshotSource::current_state) << membership;
        input.previous = previous_snapshot();
        EXPECT_EQ(snapshot_source(input), SnapshotSource::current_state) << membership;
    }
}

// ---- snapshot_source: asked for later (docs/rules.md#recompute-mode) ----

constexpr std::initializer_list<RefreshMode> later{RefreshMode::recompute, RefreshMode::rebuild};

/// What a backfill (`recompute`) or a repair that believes no row (`rebuild`) finds.
MembershipFacts asked(RefreshMode mode, MembershipFacts input) {
    input.mode = mode;
    return input;
}

/// A stored row of the very membership.
MembershipSnapshot stored_snapshot(bool has_known_state) {
    auto row = previous_snapshot();
    row.membership_event_id = "$new";
    row.has_known_state = has_known_state;
    return row;
}

TEST(SnapshotSourceLater, NoRowAsForAChange) {
    for (const auto mode : later) {
        auto input = asked(mode, facts("join"));
        input.previous = stored_snapshot(true);
        input.in_rooms = false;
        EXPECT_EQ(snapshot_source(input), SnapshotSource::none);
        input = asked(mode, facts("leave"));
        input.event_id.clear();
        EXPECT_EQ(snapshot_source(input), SnapshotSource::none);
        input = asked(mode, out_of_band_facts("invite"));
        input.event_stored = false;
        EXPECT_EQ(snapshot_source(input), SnapshotSource::none);
    }
}

TEST(SnapshotSourceLater, WithoutARow) {
    const std::pair<const char*, SnapshotSource> cases[]{
        {"join", SnapshotSource::current_state},   {"invite", SnapshotSource::stripped_state},
        {"knock", SnapshotSource::stripped_state}, {"leave", SnapshotSource::state_group},
        {"ban", SnapshotSource::state_group},      {"org.example.odd", SnapshotSource::state_group},
        {"", SnapshotSource::state_group},
    };
    for (const auto mode : later) {
        for (const auto& [membership, expected] : cases) {
            EXPECT_EQ(snapshot_source(asked(mode, facts(membership))), expected) << membership;
            // in a room that nobody of ours is in any more, too
            EXPECT_EQ(snapshot_source(asked(mode, wiped_facts(membership))), expected) << membership;
            auto input = asked(mode, facts(membership));
            input.in_current_state = true;
            EXPECT_EQ(snapshot_source(input), expected) << membership;
            // whether the transaction changed the membership is no question: there is none
            input.membership_unchanged = true;
            EXPECT_EQ(snapshot_source(input), expected) << membership;
        }
    }
}

// Another membership's row tells nothing of this one (P11, D25).
TEST(SnapshotSourceLater, WithTheRowOfAnotherMembership) {
    for (const auto mode : later) {
        auto input = asked(mode, facts("leave"));
        input.previous = previous_snapshot();
        EXPECT_EQ(snapshot_source(input), SnapshotSource::state_group);
        input = asked(mode, facts("join"));
        input.previous = previous_snapshot();
        EXPECT_EQ(snapshot_source(input), SnapshotSource::current_state);
        input = asked(mode, out_of_band_facts("leave"));
        input.previous = previous_snapshot();
        EXPECT_EQ(snapshot_source(input), SnapshotSource::earlier_invite);
        input = asked(mode, out_of_band_facts("invite"));
        input.previous = previous_snapshot();
        input.redacted = true;
        EXPECT_EQ(snapshot_source(input), SnapshotSource::stripped_state);
    }
}

// P57: what is known is kept, for nothing may tell it any more; unless it is not believed.
TEST(SnapshotSourceLater, WithAKnownRow) {
    for (const auto* membership : {"join", "invite", "knock", "leave", "ban", "org.example.odd"}) {
        auto input = asked(RefreshMode::recompute, facts(membership));
        input.previous = stored_snapshot(true);
        EXPECT_EQ(snapshot_source(input), SnapshotSource::keep) << membership;
        auto bare = input;
        bare.previous.reset();
        input.mode = RefreshMode::rebuild;
        EXPECT_EQ(snapshot_source(input), snapshot_source(bare)) << membership;
    }
}

TEST(SnapshotSourceLater, WithARowThatKnowsNothing) {
    for (const auto mode : later) {
        for (const auto* membership : {"join", "invite", "knock", "leave", "ban", "org.example.odd"}) {
            auto input = asked(mode, facts(membership));
            const auto without = snapshot_source(input);
            input.previous = stored_snapshot(false);
            EXPECT_EQ(snapshot_source(input), without) << membership;
        }
    }
}

// It is told by the very event: it is read again, known or not.
TEST(SnapshotSourceLater, OutOfBandInviteOrKnock) {
    for (const auto mode : later) {
        for (const auto* membership : invite_like) {
            auto input = asked(mode, out_of_band_facts(membership));
            EXPECT_EQ(snapshot_source(input), SnapshotSource::stripped_state) << membership;
            input.previous = stored_snapshot(true);
            EXPECT_EQ(snapshot_source(input), SnapshotSource::stripped_state) << membership;
        }
    }
}

// D24: what it told before it was redacted is history.
TEST(SnapshotSourceLater, RedactedOutOfBandInviteOrKnock) {
    for (const auto* membership : invite_like) {
        auto input = asked(RefreshMode::recompute, out_of_band_facts(membership));
        input.redacted = true;
        EXPECT_EQ(snapshot_source(input), SnapshotSource::stripped_state) << membership;
        for (const bool known : {false, true}) {
            input.mode = RefreshMode::recompute;
            input.previous = stored_snapshot(known);
            EXPECT_EQ(snapshot_source(input), SnapshotSource::keep) << membership;
            input.mode = RefreshMode::rebuild;
            EXPECT_EQ(snapshot_source(input), SnapshotSource::stripped_state) << membership;
        }
    }
}

// O13, H80: it became part of a joined room's state, and took that.
TEST(SnapshotSourceLater, OutOfBandInviteInCurrentState) {
    auto input = asked(RefreshMode::recompute, out_of_band_facts("invite"));
    input.in_current_state = true;
    EXPECT_EQ(snapshot_source(input), SnapshotSource::stripped_state);
    input.previous = stored_snapshot(true);
    EXPECT_EQ(snapshot_source(input), SnapshotSource::keep);
    input.previous = stored_snapshot(false);
    EXPECT_EQ(snapshot_source(input), SnapshotSource::stripped_state);
}

// D22; D23: an outlier that purging made of a leave did not come out of band.
TEST(SnapshotSourceLater, OutOfBandLeave) {
    for (const auto mode : later) {
        for (const auto* membership : {"leave", "ban", "org.example.odd", ""}) {
            auto input = asked(mode, out_of_band_facts(membership));
            EXPECT_EQ(snapshot_source(input), SnapshotSource::earlier_invite) << membership;
            input.previous = stored_snapshot(false);
            EXPECT_EQ(snapshot_source(input), SnapshotSource::earlier_invite) << membership;
            input.previous = stored_snapshot(true);
            EXPECT_EQ(snapshot_source(input),
                      mode == RefreshMode::recompute ? SnapshotSource::keep : SnapshotSource::earlier_invite)
                << membership;
            input = asked(mode, facts(membership));
            input.outlier = true;
            EXPECT_EQ(snapshot_source(input), SnapshotSource::state_group) << membership;
        }
    }
}

// O13: it may have been part of current state, and have taken the room's
TEST(SnapshotSourceLater, OutOfBandInviteThatMayHaveBeenInCurrentState) {
    for (const auto* membership : invite_like) {
        auto input = asked(RefreshMode::recompute, out_of_band_facts(membership));
        input.may_have_been_in_state = true;
        EXPECT_EQ(snapshot_source(input), SnapshotSource::stripped_state);
        input.previous = stored_snapshot(true);
        EXPECT_EQ(snapshot_source(input), SnapshotSource::keep);
        EXPECT_EQ(snapshot_source(asked(RefreshMode::rebuild, input)), SnapshotSource::stripped_state);
        input.previous = stored_snapshot(false);
        EXPECT_EQ(snapshot_source(input), SnapshotSource::stripped_state);
        input.previous = previous_snapshot();  // of another membership
        EXPECT_EQ(snapshot_source(input), SnapshotSource::stripped_state);
    }
}

// ---- derive_membership_snapshot ----

/// The row of `facts(membership)` but for the state columns.
MembershipSnapshot row_of(std::string membership, bool has_known_state, RoomState state) {
    return {
        .room_id = "!room:example.org",
        .user_id = "@me:example.org",
        .sender = "@sender:example.org",
        .membership_event_id = "$new",
        .membership = std::move(membership),
        .forgotten = false,
        .event_stream_ordering = 7,
        .event_instance_name = "persister1",
        .has_known_state = has_known_state,
        .state = std::move(state),
    };
}

TEST(DeriveMembershipSnapshot, NoRow) {
    auto input = facts("join");
    input.event_stored = false;
    EXPECT_EQ(derive_membership_snapshot(input, input_with_state()), std::nullopt);
}

TEST(DeriveMembershipSnapshot, UnknownHistory) {
    auto input = facts("leave");
    input.membership_unchanged = true;
    EXPECT_EQ(derive_membership_snapshot(input, input_with_state()), std::nullopt);
}

// D18: only what current state says, nothing of the previous snapshot. D20: its instance goes too.
TEST(DeriveMembershipSnapshot, CurrentState) {
    auto input = facts("join");
    input.in_current_state = true;
    input.previous = previous_snapshot();
    EXPECT_EQ(derive_membership_snapshot(input, input_with_state()), row_of("join", true, named("Current")));
}

// A join into a room without any relevant state.
TEST(DeriveMembershipSnapshot, CurrentStateWithoutRelevantEvents) {
    auto input = facts("join");
    input.previous = previous_snapshot();
    EXPECT_EQ(derive_membership_snapshot(input, {}), row_of("join", false, {}));
}

// H7
TEST(DeriveMembershipSnapshot, WipedState) {
    auto input = wiped_facts("leave");
    input.previous = previous_snapshot();
    EXPECT_EQ(derive_membership_snapshot(input, input_with_state()), row_of("leave", true, named("Current")));
    EXPECT_EQ(derive_membership_snapshot(input, {}), row_of("leave", false, {}));
}

// D16, D19: the invite's own stripped state, by its own membership; nothing of the previous snapshot.
TEST(DeriveMembershipSnapshot, StateGroup) {
    for (const auto mode : later) {
        const auto input = asked(mode, facts("leave"));
        EXPECT_EQ(derive_membership_snapshot(input, input_with_state()),
                  row_of("leave", true, named("Current")));
        // nobody knows it: a row all the same
        EXPECT_EQ(derive_membership_snapshot(input, {}), row_of("leave", false, {}));
    }
}

// Today's facts stand in a row whose history is kept.
TEST(DeriveMembershipSnapshot, KeptForARecall) {
    auto input = asked(RefreshMode::recompute, facts("leave"));
    input.previous = stored_snapshot(true);
    EXPECT_EQ(derive_membership_snapshot(input, input_with_state()),
              row_of("leave", true, previous_snapshot().state));
    input.forgotten.reset();
    EXPECT_TRUE(derive_membership_snapshot(input, input_with_state())->forgotten);
    input.previous->membership_event_id = "$old";
    EXPECT_FALSE(derive_membership_snapshot(input, input_with_state())->forgotten);
}

TEST(DeriveMembershipSnapshot, StrippedState) {
    auto input = out_of_band_facts("invite");
    input.previous = previous_snapshot();
    EXPECT_EQ(derive_membership_snapshot(input, input_with_state()),
              row_of("invite", true, named("Invited")));
    input.membership = "knock";
    EXPECT_EQ(derive_membership_snapshot(input, input_with_state()), row_of("knock", true, named("Knocked")));
    input.json = "{}";
    EXPECT_EQ(derive_membership_snapshot(input, input_with_state()), row_of("knock", false, {}));
}

// D24, H67
TEST(DeriveMembershipSnapshot, StrippedStateOfARedactedInvite) {
    auto input = out_of_band_facts("invite");
    input.redacted = true;
    EXPECT_EQ(derive_membership_snapshot(input, input_with_state()), row_of("invite", false, {}));
}

// H8: a rejected invite keeps what the invite told; the membership columns are new.
TEST(DeriveMembershipSnapshot, Inherit) {
    auto input = out_of_band_facts("leave");
    input.previous = previous_snapshot();
    EXPECT_EQ(derive_membership_snapshot(input, input_with_state()),
              row_of("leave", true, previous_snapshot().state));
    input.previous->has_known_state = false;
    input.previous->state = {};
    EXPECT_EQ(derive_membership_snapshot(input, input_with_state()), row_of("leave", false, {}));
}

// D22
TEST(DeriveMembershipSnapshot, EarlierInvite) {
    const auto input = out_of_band_facts("leave");
    auto state = input_with_state();
    EXPECT_EQ(derive_membership_snapshot(input, state), row_of("leave", true, named("Knocked")));
    state.earlier_invite_membership = "invite";
    EXPECT_EQ(derive_membership_snapshot(input, state), row_of("leave", true, named("Invited")));
    state.earlier_invite_redacted = true;
    EXPECT_EQ(derive_membership_snapshot(input, state), row_of("leave", false, {}));
    EXPECT_EQ(derive_membership_snapshot(input, {}), row_of("leave", false, {}));
}

// A5: history stays; the other columns are put right from the base tables.
TEST(DeriveMembershipSnapshot, Keep) {
    auto input = facts("leave");
    input.membership_unchanged = true;
    input.previous = previous_snapshot();
    input.previous->membership_event_id = "$new";
    input.forgotten = 1;
    auto expected = row_of("leave", true, previous_snapshot().state);
    expected.forgotten = true;
    EXPECT_EQ(derive_membership_snapshot(input, input_with_state()), expected);
}

// H45, D20
TEST(DeriveMembershipSnapshot, InstanceName) {
    const std::pair<std::optional<std::string>, std::string> cases[]{
        {std::nullopt, "master"}, {"", "master"}, {"master", "master"}, {"persister2", "persister2"}};
    for (const auto& [instance, expected] : cases) {
        auto input = facts("join");
        input.instance_name = instance;
        input.previous = previous_snapshot();
        EXPECT_EQ(derive_membership_snapshot(input, {})->event_instance_name, expected);
    }
}

// H46: events.sender, then room_memberships.sender, then the event itself.
TEST(DeriveMembershipSnapshot, SenderFallsBack) {
    auto input = facts("join");
    input.room_memberships_sender = "@from_memberships:b";
    input.json = R"({"sender":"@from_json:b"})";
    EXPECT_EQ(derive_membership_snapshot(input, {})->sender, "@sender:example.org");
    input.sender.reset();
    EXPECT_EQ(derive_membership_snapshot(input, {})->sender, "@from_memberships:b");
    input.room_memberships_sender.reset();
    EXPECT_EQ(derive_membership_snapshot(input, {})->sender, "@from_json:b");
}

// D21, H21, H79: the flag of this very event; without a row of it, what was known of the same event.
TEST(DeriveMembershipSnapshot, Forgotten) {
    struct {
        std::optional<std::int32_t> stored;
        std::optional<std::pair<const char*, bool>> previous;  // event id, forgotten
        bool expected;
    } const cases[]{
        {0, {}, false},
        {1, {}, true},
        {2, {}, true},
        {-1, {}, true},
        {0, {{"$new", true}}, false},
        {1, {{"$new", false}}, true},
        {{}, {}, false},
        {{}, {{"$new", true}}, true},
        {{}, {{"$new", false}}, false},
        {{}, {{"$old", true}}, false},
    };
    for (const auto& [stored, previous, expected] : cases) {
        auto input = facts("leave");
        input.forgotten = stored;
        if (previous) {
            input.previous = previous_snapshot();
            input.previous->membership_event_id = previous->first;
            input.previous->forgotten = previous->second;
        }
        EXPECT_EQ(derive_membership_snapshot(input, {})->forgotten, expected)
            << "stored " << stored.value_or(-999) << ", previous " << (previous ? previous->first : "none");
    }
}

// H33, H49, H73: any 64-bit ordering. H62: any membership, verbatim.
TEST(DeriveMembershipSnapshot, Verbatim) {
    for (const std::int64_t ordering : {std::int64_t{-5}, std::int64_t{0}, std::int64_t{1} << 40}) {
        auto input = facts("org.example.odd");
        input.stream_ordering = ordering;
        const auto row = derive_membership_snapshot(input, {});
        ASSERT_TRUE(row);
        EXPECT_EQ(row->event_stream_ordering, ordering);
        EXPECT_EQ(row->membership, "org.example.odd");
    }
}

}  // namespace
}  // namespace sliding_sync::rules
