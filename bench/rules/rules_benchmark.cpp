// The rules on documents of the size and shape that homeservers store.
#include <benchmark/benchmark.h>
#include <string>

#include "rules/joined_room.hpp"
#include "rules/json.hpp"
#include "rules/membership_snapshot.hpp"
#include "rules/redaction.hpp"
#include "rules/stripped_state.hpp"

namespace sliding_sync::rules {
namespace {

std::string event(const std::string& type, const std::string& content, const std::string& unsigned_ = "{}") {
    const std::string id(43, 'x');
    return R"({"auth_events":["$)" + id + R"(","$)" + id + R"(","$)" + id + R"("],"content":)" + content +
           R"(,"depth":4711,"hashes":{"sha256":")" + id +
           R"("},"origin_server_ts":1700000000000,"prev_events":["$)" + id +
           R"("],"room_id":"!abcdefghijklmnopqr:hs.test","sender":"@somebody:hs.test","state_key":"","type":")" +
           type + R"(","signatures":{"hs.test":{"ed25519:a_key":")" + id + id + R"("}},"unsigned":)" +
           unsigned_ + "}";
}

const std::string create_json =
    event("m.room.create", R"({"creator":"@somebody:hs.test","room_version":"10"})");
const std::string name_json = event("m.room.name", R"({"name":"A room with a name"})");
const std::string encryption_json = event("m.room.encryption", R"({"algorithm":"m.megolm.v1.aes-sha2"})");
const std::string tombstone_json =
    event("m.room.tombstone", R"({"body":"gone","replacement_room":"!new:hs.test"})");
const std::string member_json = event("m.room.member", R"({"displayname":"Somebody","membership":"join"})");
const std::string redaction_json = event("m.room.redaction", R"({"reason":"spam"})");

std::string stripped(int others) {
    std::string state = R"({"invite_room_state":[)";
    for (int i = 0; i < others; ++i) {
        state +=
            R"({"type":"m.room.member","state_key":"@u)" + std::to_string(i) +
            R"(:hs.test","sender":"@a:hs.test","content":{"membership":"join","displayname":"Somebody"}},)";
    }
    state += R"({"type":"m.room.create","state_key":"","sender":"@a:hs.test","content":{"type":"m.space"}},)"
             R"({"type":"m.room.name","state_key":"","sender":"@a:hs.test","content":{"name":"Far away"}}]})";
    return event("m.room.member", R"({"membership":"invite"})", state);
}

StateEvents state_events() {
    StateEvents events;
    events[static_cast<std::size_t>(StateKind::create)] = StateEvent{.json = create_json};
    events[static_cast<std::size_t>(StateKind::name)] = StateEvent{.json = name_json};
    events[static_cast<std::size_t>(StateKind::encryption)] = StateEvent{.json = encryption_json};
    events[static_cast<std::size_t>(StateKind::tombstone)] = StateEvent{.json = tombstone_json};
    return events;
}

void content_value_of_an_event(benchmark::State& state) {
    for (auto _ : state) {
        benchmark::DoNotOptimize(content_value(name_json, "name"));
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(name_json.size()));
}
BENCHMARK(content_value_of_an_event);

void content_value_of_a_large_event(benchmark::State& state) {
    const std::string large =
        event("m.room.name", R"({"name":"A room","filler":")" +
                                 std::string(static_cast<std::size_t>(state.range(0)), 'x') + "\"}");
    for (auto _ : state) {
        benchmark::DoNotOptimize(content_value(large, "name"));
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(large.size()));
}
BENCHMARK(content_value_of_a_large_event)->Arg(1 << 12)->Arg(1 << 16);

void is_readable_event(benchmark::State& state) {
    for (auto _ : state) {
        benchmark::DoNotOptimize(is_readable(member_json));
    }
}
BENCHMARK(is_readable_event);

void internal_metadata(benchmark::State& state) {
    for (auto _ : state) {
        benchmark::DoNotOptimize(read_internal_metadata(R"({"outlier":true,"out_of_band_membership":true})"));
    }
}
BENCHMARK(internal_metadata);

void room_state_of_four_events(benchmark::State& state) {
    const StateEvents events = state_events();
    for (auto _ : state) {
        benchmark::DoNotOptimize(derive_room_state(events));
    }
}
BENCHMARK(room_state_of_four_events);

void joined_room(benchmark::State& state) {
    const JoinedRoomFacts facts{.room_id = "!abcdefghijklmnopqr:hs.test",
                                .in_rooms = true,
                                .state_events = state_events(),
                                .latest_ordering = 100,
                                .latest_bump_ordering = 99};
    for (auto _ : state) {
        benchmark::DoNotOptimize(derive_joined_room(facts));
    }
}
BENCHMARK(joined_room);

void stripped_state(benchmark::State& state) {
    const std::string json = stripped(static_cast<int>(state.range(0)));
    for (auto _ : state) {
        benchmark::DoNotOptimize(read_stripped_state(json, "invite", false));
    }
}
BENCHMARK(stripped_state)->Arg(2)->Arg(20);

void snapshot_of_a_join(benchmark::State& state) {
    MembershipFacts facts;
    facts.room_id = "!abcdefghijklmnopqr:hs.test";
    facts.user_id = "@somebody:hs.test";
    facts.in_rooms = true;
    facts.event_id = "$" + std::string(43, 'x');
    facts.membership = "join";
    facts.event_stored = true;
    facts.stream_ordering = 100;
    facts.sender = facts.user_id;
    facts.instance_name = "master";
    facts.json = member_json;
    facts.internal_metadata = "{}";
    facts.forgotten = 0;
    facts.in_current_state = true;
    facts.room_has_current_state = true;
    const SnapshotInput input{.state_events = state_events(),
                              .earlier_invite_json = {},
                              .earlier_invite_membership = {},
                              .earlier_invite_redacted = false};
    for (auto _ : state) {
        benchmark::DoNotOptimize(derive_membership_snapshot(facts, input));
    }
}
BENCHMARK(snapshot_of_a_join);

void redaction_verdict(benchmark::State& state) {
    const RedactionTarget target{.sender = "@somebody:hs.test", .stream_ordering = 50};
    const Redaction redaction{.recheck = true,
                              .event = {.stored = true,
                                        .rejected = false,
                                        .same_room = true,
                                        .sender = "@somebody:hs.test",
                                        .json = redaction_json,
                                        .internal_metadata = R"({"recheck_redaction":true})"}};
    for (auto _ : state) {
        benchmark::DoNotOptimize(is_redacted(target, {&redaction, 1}, {}));
    }
}
BENCHMARK(redaction_verdict);

}  // namespace
}  // namespace sliding_sync::rules
