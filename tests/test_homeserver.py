"""Real homeservers play the whole scenario while the triggers keep the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from harness.cluster import Cluster
from harness.synapse import ROLE, Synapse
from homeserver import comparison, deliberate, writers
from homeserver.scenario import NAMES, World, play
from oracle import check

VERSIONS = ("1.163.2", "1.118.0")

Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module", params=VERSIONS)
def blank(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[tuple[str, str]]:
    """A version, and a database as its first start leaves it, with the triggers attached: a template."""
    version: str = request.param
    cluster.create_role(ROLE)
    database = cluster.create_database(f"blank {version}", ROLE)
    with Synapse(version, cluster, database) as synapse:
        synapse.wait_for_background_updates()
    if cluster.has_extension:
        with cluster.connect(database) as connection:
            connection.execute("CREATE EXTENSION sliding_sync")
            attached = connection.execute(
                "SELECT count(*) FROM pg_trigger"
                " WHERE NOT tgisinternal AND tgrelid = 'public.events'::regclass"
            ).fetchone()
            assert attached and attached[0] > 0, "CREATE EXTENSION found the tables but attached nothing"
    yield version, database
    cluster.drop_database(database)


@pytest.fixture
def database(blank: tuple[str, str], cluster: Cluster) -> Iterator[str]:
    yield cluster.create_database("homeserver", ROLE, template=blank[1])
    cluster.drop_database("homeserver")


class Findings:
    """Everything found wrong, by the step after which it was first seen."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def add(self, step: str, messages: list[str]) -> None:
        for message in messages:
            self._seen.setdefault(message, step)

    def assert_none(self) -> None:
        lines = [f"after {step}: {message}" for message, step in self._seen.items()]
        assert not lines, f"{len(lines)} findings:\n" + "\n".join(lines)


def play_and_check(synapse: Synapse, has_extension: bool, look: Callable[[str, World], list[str]]) -> World:
    """The scenario with `look` after each step; no request may have failed, nor any background work."""
    world, findings = World(synapse), Findings()

    def after_step(step: str) -> None:
        if has_extension:
            findings.add(step, look(step, world))

    try:
        play(world, after_step)
    except Exception as error:
        error.add_note(synapse.read_log()[-3000:])
        raise
    findings.assert_none()
    assert_nothing_failed(synapse)
    return world


def assert_nothing_failed(synapse: Synapse) -> None:
    assert not synapse.api.failed, "\n".join(map(str, synapse.api.failed)) + "\n" + synapse.read_log()[-3000:]
    assert not synapse.errors(), synapse.errors()


def drift(connection: Connection, names: dict[str, str] | None = None) -> list[str]:
    """What the oracle says about the real tables."""
    named = []
    for finding in check(connection, writers.REAL):
        text = str(finding)
        for identifier, name in (names or {}).items():
            text = text.replace(identifier, name)
        named.append(f"oracle: {text}")
    return named


def test_triggers_write_what_synapse_writes(blank: tuple[str, str], database: str, cluster: Cluster) -> None:
    """Two writers side by side, and the homeserver then goes on with the triggers' tables as with its own."""
    with cluster.connect(database, ROLE) as connection:
        writers.make_copies(connection)

    with (
        cluster.connect(database) as connection,
        Synapse(blank[0], cluster, database, writers.SEARCH_PATH) as synapse,
    ):

        def look(step: str, world: World) -> list[str]:
            found = comparison.differences(connection, world.names)
            return deliberate.unexplained(step, found) + drift(connection, world.names)

        world = play_and_check(synapse, cluster.has_extension, look)
        assert not comparison.is_empty(connection, writers.COPY), "the homeserver did not write the copies"
        if cluster.has_extension:
            assert not comparison.is_empty(connection, writers.REAL), (
                "the triggers did not write the real tables"
            )
            check_adoption(world, connection)


def check_adoption(world: World, connection: Connection) -> None:
    """Only triggers have written the real tables: the homeserver finds nothing to do and lists every room."""
    before = row_versions(connection)
    world.synapse.restart(search_path=None)
    world.synapse.wait_for_background_updates()
    assert row_versions(connection) == before, "the homeserver's start-up rewrote rows"
    check_room_lists(world, connection)

    world.alice.set_name(world.rooms["space"], "The last name")
    world.bob.leave(world.rooms["space"])
    check_room_lists(world, connection)
    assert drift(connection, world.names) == []
    assert_nothing_failed(world.synapse)


def test_both_write_the_same_tables(blank: tuple[str, str], database: str, cluster: Cluster) -> None:
    """The ordinary installation: homeserver and triggers write the same rows in the same transactions."""
    with cluster.connect(database) as connection, Synapse(blank[0], cluster, database) as synapse:
        world = play_and_check(
            synapse, cluster.has_extension, lambda _step, world: drift(connection, world.names)
        )
        check_room_lists(world, connection)
        if cluster.has_extension:
            check_queued_room_can_be_deleted(world, connection)
            assert drift(connection, world.names) == []
        assert_nothing_failed(synapse)


def check_queued_room_can_be_deleted(world: World, connection: Connection) -> None:
    """A room waiting in the homeserver's own queue made its deletion fail (element-hq/synapse#19822)."""
    room = world.rooms["direct"]
    connection.execute("INSERT INTO sliding_sync_joined_rooms_to_recalculate VALUES (%s)", (room,))
    world.admin.delete_room(room)
    left = connection.execute("SELECT 1 FROM rooms WHERE room_id = %s", (room,)).fetchall()
    assert left == []


def row_versions(connection: Connection) -> dict[str, list[Any]]:
    """Which version of each row stands: equal lists mean that nothing was written, not even equal values."""
    return {
        table: connection.execute(f"SELECT ctid::text, xmin::text FROM public.{table} ORDER BY 1").fetchall()
        for table in writers.TABLES
    }


def check_room_lists(world: World, connection: Connection) -> None:
    """Each user's list over sliding sync holds the rooms that the homeserver's own membership tables name."""
    for name in NAMES:
        user = world.users[name]
        expected = connection.execute(
            "SELECT room_id FROM public.local_current_membership l JOIN public.room_memberships m"
            " USING (event_id, room_id, user_id) WHERE user_id = %s AND m.forgotten = 0"
            " AND NOT (l.membership = 'leave' AND m.sender = user_id)",
            (user.user_id,),
        ).fetchall()
        operations = user.sliding_sync()["lists"]["all"]["ops"]
        listed = {world.names.get(room, room) for operation in operations for room in operation["room_ids"]}
        assert listed == {world.names.get(room, room) for (room,) in expected}, f"the room list of {name}"
