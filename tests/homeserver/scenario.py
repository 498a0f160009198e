"""What a real homeserver goes through, step by step, over its HTTP interface only."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from harness.matrix_client import MatrixError, User
from harness.synapse import Synapse

NAMES = ("admin", "alice", "bob", "carol", "dave", "erin")


@dataclass
class World:
    """The homeserver and everything in it, by the names that the steps give it."""

    synapse: Synapse
    users: dict[str, User] = field(default_factory=dict)
    rooms: dict[str, str] = field(default_factory=dict)
    events: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> dict[str, str]:
        """Room and user ids to names."""
        return {room_id: name for name, room_id in self.rooms.items()} | {
            user.user_id: name for name, user in self.users.items()
        }

    def __getattr__(self, name: str) -> User:
        if name not in NAMES:
            raise AttributeError(name)
        return self.users[name]


Step = Callable[[World], None]


def users(w: World) -> None:
    for name in NAMES:
        w.users[name] = w.synapse.register(name, admin=name == "admin")


def create_rooms(w: World) -> None:
    encryption = {
        "type": "m.room.encryption",
        "state_key": "",
        "content": {"algorithm": "m.megolm.v1.aes-sha2"},
    }
    knocking = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    create = w.alice.create_room
    w.rooms["plain"] = create(preset="private_chat")
    w.rooms["named"] = create(preset="private_chat", name="Named")
    w.rooms["encrypted"] = create(preset="private_chat", name="Secret", initial_state=[encryption])
    w.rooms["space"] = create(preset="public_chat", name="Space", creation_content={"type": "m.space"})
    w.rooms["public"] = create(preset="public_chat", name="Public", topic="All are welcome")
    w.rooms["knocking"] = create(preset="public_chat", name="Knock first", initial_state=[knocking])
    w.rooms["direct"] = create(preset="trusted_private_chat", is_direct=True, invite=[w.bob.user_id])
    w.rooms["odd type"] = create(
        preset="public_chat", creation_content={"type": "org.example.odd \U0001f600"}
    )


def join_rooms(w: World) -> None:
    for user in (w.bob, w.carol, w.dave):
        user.join(w.rooms["public"])
    w.bob.join(w.rooms["space"])
    w.bob.join(w.rooms["direct"])
    w.erin.join(w.rooms["odd type"])


def invite(w: World) -> None:
    for room in ("plain", "named", "encrypted"):
        for user in (w.bob, w.carol, w.dave):
            w.alice.invite(w.rooms[room], user)


def accept_invites(w: World) -> None:
    for room in ("plain", "named", "encrypted"):
        w.bob.join(w.rooms[room])
    w.carol.join(w.rooms["named"])


def reject_invites(w: World) -> None:
    w.carol.leave(w.rooms["plain"])
    w.dave.leave(w.rooms["encrypted"])


def retract_invite(w: World) -> None:
    w.alice.kick(w.rooms["plain"], w.dave)


def messages(w: World) -> None:
    for room in ("plain", "named", "public", "space", "direct", "odd type"):
        w.alice.say(w.rooms[room], "hello")
    w.events["message"] = w.bob.say(w.rooms["named"], "something to regret")
    w.bob.send(
        w.rooms["encrypted"], "m.room.encrypted", {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x"}
    )


def events_that_do_not_bump(w: World) -> None:
    relation = {"rel_type": "m.annotation", "event_id": w.events["message"], "key": "+1"}
    w.alice.send(w.rooms["named"], "m.reaction", {"m.relates_to": relation})
    w.alice.set_state(w.rooms["named"], "m.room.topic", {"topic": "a topic"})
    w.alice.set_state(w.rooms["public"], "m.room.name", {"name": "not the room's name"}, state_key="x")


def other_bumps(w: World) -> None:
    w.alice.send(w.rooms["public"], "m.sticker", {"body": "", "url": "mxc://hs.test/x", "info": {}})
    w.bob.send(w.rooms["named"], "m.call.invite", {"call_id": "1", "version": 0, "lifetime": 1, "offer": {}})
    w.carol.send(w.rooms["public"], "m.poll.start", {"m.poll": {}})


def rename(w: World) -> None:
    w.alice.set_name(w.rooms["plain"], "Now it has a name")
    w.alice.set_name(w.rooms["public"], "Public, r\u00e9nomm\u00e9 \U0001f389")
    w.alice.set_name(w.rooms["public"], 'Quotes " \\ and \u202e marks')


def empty_name(w: World) -> None:
    w.alice.set_name(w.rooms["plain"], "")


def encryption_without_algorithm(w: World) -> None:
    w.alice.set_state(w.rooms["plain"], "m.room.encryption", {})


def encrypt(w: World) -> None:
    w.alice.set_state(w.rooms["direct"], "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})


def kick_and_come_back(w: World) -> None:
    w.alice.kick(w.rooms["public"], w.carol)
    w.alice.set_name(w.rooms["public"], "Named while carol was away")
    w.carol.join(w.rooms["public"])
    w.alice.kick(w.rooms["public"], w.carol)


def ban_and_unban(w: World) -> None:
    w.alice.ban(w.rooms["public"], w.dave)
    w.alice.ban(w.rooms["named"], w.carol)
    w.alice.ban(w.rooms["named"], w.erin)  # never was in the room
    w.alice.unban(w.rooms["public"], w.dave)
    w.dave.join(w.rooms["public"])


def change_profile(w: World) -> None:
    w.bob.set_display_name("Robert")
    deadline = time.monotonic() + 30
    rooms = [w.rooms[name] for name in ("plain", "named", "encrypted", "space", "public", "direct")]
    # The homeserver changes the memberships after it has answered.
    while rooms:
        member = w.bob.get_state(rooms[-1], "m.room.member", w.bob.user_id)
        if member.get("displayname") == "Robert":
            rooms.pop()
        elif time.monotonic() > deadline:
            raise TimeoutError("the new name did not reach all rooms")


def knock(w: World) -> None:
    for user in (w.bob, w.carol, w.dave, w.erin):
        user.knock(w.rooms["knocking"])


def answer_knocks(w: World) -> None:
    w.alice.kick(w.rooms["knocking"], w.bob)  # denied
    w.alice.invite(w.rooms["knocking"], w.carol)  # accepted
    w.carol.join(w.rooms["knocking"])
    w.dave.leave(w.rooms["knocking"])  # rescinded; erin's stays open


def redact_message(w: World) -> None:
    w.bob.redact(w.rooms["named"], w.events["message"])


def redact_name(w: World) -> None:
    event = w.alice.state_event_id(w.rooms["named"], "m.room.name")
    w.alice.redact(w.rooms["named"], event)


def leave_while_name_is_redacted(w: World) -> None:
    w.bob.leave(w.rooms["named"])


def rename_after_redaction(w: World) -> None:
    w.alice.set_name(w.rooms["named"], "Named again")
    w.alice.invite(w.rooms["named"], w.bob)
    w.bob.join(w.rooms["named"])


def redact_old_name(w: World) -> None:
    w.events["old name"] = w.alice.set_name(w.rooms["space"], "Old name")
    w.alice.set_name(w.rooms["space"], "Newer name")
    w.alice.redact(w.rooms["space"], w.events["old name"])


def redact_encryption(w: World) -> None:
    event = w.alice.state_event_id(w.rooms["direct"], "m.room.encryption")
    w.alice.redact(w.rooms["direct"], event)


def encrypt_again(w: World) -> None:
    w.alice.set_state(w.rooms["direct"], "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2", "v": 2})


def redact_memberships(w: World) -> None:
    for user in (w.bob, w.dave):
        event = w.alice.state_event_id(w.rooms["public"], "m.room.member", user.user_id)
        w.alice.redact(w.rooms["public"], event)


def redact_creation(w: World) -> None:
    # Homeservers refuse it or show the event whole all the same.
    try:
        w.alice.redact(w.rooms["space"], w.alice.state_event_id(w.rooms["space"], "m.room.create"))
    except MatrixError as refused:
        if refused.status >= 500:
            raise


def unusable_name(w: World) -> None:
    w.alice.set_name(w.rooms["plain"], "Usable")
    w.alice.set_name(w.rooms["plain"], "NUL \0 inside")


def leave_while_name_is_unusable(w: World) -> None:
    w.bob.leave(w.rooms["plain"])


def usable_name(w: World) -> None:
    w.alice.set_name(w.rooms["plain"], "Usable again")
    w.alice.invite(w.rooms["plain"], w.bob)
    w.bob.join(w.rooms["plain"])


def upgrade(w: World) -> None:
    w.rooms["upgraded"] = w.alice.upgrade(w.rooms["public"], w.alice.default_room_version())
    w.dave.leave(w.rooms["public"])
    w.dave.join(w.rooms["upgraded"])


def tombstone_by_hand(w: World) -> None:
    body = {"body": "moved", "replacement_room": w.rooms["upgraded"]}
    w.alice.set_state(w.rooms["odd type"], "m.room.tombstone", body)


def unusable_tombstone(w: World) -> None:
    w.alice.set_state(w.rooms["odd type"], "m.room.tombstone", {"body": "moved", "replacement_room": ["x"]})


def tombstone_without_successor(w: World) -> None:
    w.alice.set_state(w.rooms["odd type"], "m.room.tombstone", {"body": "gone", "replacement_room": None})


def redact_tombstone(w: World) -> None:
    w.alice.redact(w.rooms["public"], w.alice.state_event_id(w.rooms["public"], "m.room.tombstone"))


def leave_and_forget(w: World) -> None:
    w.bob.leave(w.rooms["space"])
    w.bob.forget(w.rooms["space"])
    w.carol.forget(w.rooms["named"])  # banned
    w.carol.forget(w.rooms["plain"])  # rejected an invite


def rejoin_forgotten(w: World) -> None:
    w.bob.join(w.rooms["space"])
    w.alice.invite(w.rooms["plain"], w.carol)


def purge_history(w: World) -> None:
    room = w.rooms["upgraded"]
    for number in range(5):
        w.alice.say(room, f"message {number}")
    w.alice.set_name(room, "Upgraded")
    w.admin.purge_history(room, up_to=w.dave.say(room, "this one stays"))


def purge_all_bumps(w: World) -> None:
    room = w.rooms["encrypted"]
    w.alice.say(room, "the last that bumps")
    w.events["topic"] = w.alice.set_state(room, "m.room.topic", {"topic": "bumps nothing"})
    w.admin.purge_history(room, up_to=w.events["topic"])


def bump_after_purge(w: World) -> None:
    w.alice.say(w.rooms["encrypted"], "bumps again")


def redact_name_before_purge(w: World) -> None:
    room = w.rooms["upgraded"]
    w.alice.redact(room, w.alice.state_event_id(room, "m.room.name"))


def purge_redaction(w: World) -> None:
    room = w.rooms["upgraded"]
    w.admin.purge_history(room, up_to=w.alice.say(room, "after the redaction"))


def purged_room_goes_on(w: World) -> None:
    room = w.rooms["upgraded"]
    w.carol.join(room)
    w.dave.leave(room)
    w.alice.set_name(room, "Upgraded and purged")


def last_leaves(w: World) -> None:
    for name in ("abandoned", "abandoned encrypted"):
        encryption = {
            "type": "m.room.encryption",
            "state_key": "",
            "content": {"algorithm": "m.megolm.v1.aes-sha2"},
        }
        state = [encryption] if "encrypted" in name else []
        room = w.rooms[name] = w.alice.create_room(preset="private_chat", name=name, initial_state=state)
        w.alice.invite(room, w.bob)
        w.alice.invite(room, w.carol)
        w.alice.invite(room, w.dave)
        w.dave.join(room)
        w.dave.say(room, "alone soon")
        w.dave.leave(room)
        w.alice.leave(room)


def reject_after_all_left(w: World) -> None:
    for name in ("abandoned", "abandoned encrypted"):
        w.carol.leave(w.rooms[name])


def forget_abandoned(w: World) -> None:
    w.alice.forget(w.rooms["abandoned"])
    w.carol.forget(w.rooms["abandoned"])


def all_at_once(w: World) -> None:
    """Many users act in the same rooms at the same time, one of whom renames them meanwhile."""
    rooms = [w.alice.create_room(preset="public_chat", name=f"busy {number}") for number in range(3)]
    w.rooms |= {f"busy {number}": room for number, room in enumerate(rooms)}

    def come_and_go(user: User) -> None:
        for turn in range(4):
            for room in rooms:
                user.join(room)
                user.say(room, f"turn {turn}")
                user.leave(room)
                if turn % 2:
                    user.forget(room)

    def rename_all(user: User) -> None:
        for turn in range(8):
            for room in rooms:
                user.set_name(room, f"turn {turn}")

    with ThreadPoolExecutor(5) as pool:
        work = [pool.submit(come_and_go, user) for user in (w.bob, w.carol, w.dave, w.erin)]
        work.append(pool.submit(rename_all, w.alice))
        for task in work:
            task.result()


def join_through_space(w: World) -> None:
    """A restricted room: the homeserver signs the join for its member of the space."""
    allow = [{"type": "m.room_membership", "room_id": w.rooms["space"]}]
    rules = {
        "type": "m.room.join_rules",
        "state_key": "",
        "content": {"join_rule": "restricted", "allow": allow},
    }
    w.rooms["restricted"] = w.alice.create_room(
        preset="private_chat", name="Restricted", initial_state=[rules]
    )
    w.alice.set_state(
        w.rooms["space"], "m.space.child", {"via": ["hs.test"]}, state_key=w.rooms["restricted"]
    )
    w.bob.join(w.rooms["restricted"])


def deactivate(w: World) -> None:
    """The homeserver takes the user out of all rooms, after it has answered."""
    frank = w.users["frank"] = w.synapse.register("frank")
    frank.join(w.rooms["space"])
    frank.join(w.rooms["busy 0"])
    w.alice.invite(w.rooms["restricted"], frank)
    w.admin.deactivate(frank)


def delete_rooms(w: World) -> None:
    # joined, banned and invited members; those who were joined find themselves in a new room
    w.rooms["instead"] = w.admin.delete_room(w.rooms["named"], new_room_user_id=w.admin.user_id)[
        "new_room_id"
    ]
    w.admin.delete_room(w.rooms["public"])  # a tombstone, kicked members
    w.admin.delete_room(w.rooms["knocking"])  # an open knock


def delete_abandoned_room(w: World) -> None:
    w.admin.delete_room(w.rooms["abandoned"])  # nobody is in it, one invite is open


def delete_purged_room(w: World) -> None:
    w.admin.delete_room(w.rooms["upgraded"])


def last_words(w: World) -> None:
    """The newest event of the server is in a joined room, as on any living server."""
    w.alice.say(w.rooms["space"], "goodbye")


STEPS: tuple[Step, ...] = (
    users,
    create_rooms,
    join_rooms,
    invite,
    accept_invites,
    reject_invites,
    retract_invite,
    messages,
    events_that_do_not_bump,
    other_bumps,
    rename,
    empty_name,
    encryption_without_algorithm,
    encrypt,
    kick_and_come_back,
    ban_and_unban,
    change_profile,
    knock,
    answer_knocks,
    redact_message,
    redact_name,
    leave_while_name_is_redacted,
    rename_after_redaction,
    redact_old_name,
    redact_encryption,
    encrypt_again,
    redact_memberships,
    redact_creation,
    unusable_name,
    leave_while_name_is_unusable,
    usable_name,
    upgrade,
    tombstone_by_hand,
    unusable_tombstone,
    tombstone_without_successor,
    redact_tombstone,
    leave_and_forget,
    rejoin_forgotten,
    purge_history,
    purge_all_bumps,
    bump_after_purge,
    redact_name_before_purge,
    purge_redaction,
    purged_room_goes_on,
    last_leaves,
    reject_after_all_left,
    forget_abandoned,
    all_at_once,
    join_through_space,
    deactivate,
    delete_rooms,
    delete_abandoned_room,
    delete_purged_room,
    last_words,
)


def steps(first: Step, last: Step) -> tuple[Step, ...]:
    """A part of the scenario, both ends included."""
    return STEPS[STEPS.index(first) : STEPS.index(last) + 1]


def play(world: World, after_step: Callable[[str], None], part: Sequence[Step] = STEPS) -> None:
    for step in part:
        try:
            step(world)
        except Exception as error:
            error.add_note(f"in step {step.__name__} of Synapse {world.synapse.version}")
            raise
        after_step(step.__name__)
