"""One database, and a homeserver that goes back to a version older than the tables, or comes from one."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from harness import processes
from harness.cluster import Cluster
from harness.commit_gate import CommitGate
from harness.environment import synapse_python
from harness.synapse import ROLE, Synapse
from homeserver import scenario, writers
from homeserver.checks import (
    Connection,
    DriftAtCommits,
    assert_nothing_failed,
    check_room_lists,
    drift,
    drift_after_each_request,
    play_and_check,
    row_versions,
)
from homeserver.refill import neglected_database
from homeserver.scenario import World
from oracle import Watcher, check
from oracle.finding import ROW, Finding
from property.random_homeserver import live
from synthetic.database import (
    ANNA,
    OWNER,
    ROOM,
    SCHEMA,
    assert_nothing_in_quarantine,
    connect,
    create_homeserver,
    derived_rows,
    run_psql,
)

NEW, OLD = "1.163.2", "1.113.0"

# The newer version's default is a room version that the older one does not know.
CONFIGURATION = {"default_room_version": "10"}

QUEUE = "sliding_sync_joined_rooms_to_recalculate"


@pytest.fixture(scope="module")
def blank(cluster: Cluster) -> Iterator[str]:
    """A database as the newer version's first start leaves it."""
    if not cluster.has_extension:
        pytest.skip("asks what triggers do")
    cluster.create_role(ROLE)
    database = cluster.create_database(f"blank {NEW}", ROLE)
    with Synapse(NEW, cluster, database) as synapse:
        synapse.wait_for_background_updates()
    yield database
    cluster.drop_database(database)


@pytest.fixture
def database(blank: str, cluster: Cluster) -> Iterator[str]:
    yield cluster.create_database("versions", ROLE, template=blank)
    cluster.drop_database("versions")


@pytest.fixture
def empty_database(blank: str, cluster: Cluster) -> Iterator[str]:
    yield cluster.create_database("versions", ROLE)
    cluster.drop_database("versions")


def queued(connection: Connection) -> list[tuple[str, ...]]:
    return connection.execute(f"SELECT * FROM {QUEUE}").fetchall()


def was_ever_queued(connection: Connection) -> bool:
    """A table that nothing was ever written to is an empty file."""
    return connection.execute(f"SELECT pg_relation_size('{QUEUE}')").fetchall() != [(0,)]


# -- back and forth


def test_downgrade_and_upgrade(database: str, cluster: Cluster) -> None:
    with (
        cluster.connect(database) as connection,
        Synapse(NEW, cluster, database, configuration=CONFIGURATION) as synapse,
    ):
        connection.execute("CREATE EXTENSION sliding_sync")
        world = World(synapse)

        def look(_step: str) -> list[str]:
            return drift(connection, world.names)

        with drift_after_each_request(world, connection):
            play_and_check(world, scenario.steps(scenario.users, scenario.change_profile), look)
        unknown = world.rooms["of version 12"] = world.alice.create_room(
            preset="public_chat", name="Not for old homeservers", room_version="12"
        )
        world.bob.join(unknown)
        assert drift(connection, world.names) == []
        assert not was_ever_queued(connection)

        synapse.change_version(OLD)
        # A queued room, of which the older version knows nothing either, can be deleted all the same.
        connection.execute(f"INSERT INTO {QUEUE} VALUES (%s)", (world.rooms["named"],))
        with drift_after_each_request(world, connection):
            play_and_check(world, scenario.steps(scenario.knock, scenario.delete_purged_room), look)
            assert queued(connection) == []
            connection.execute(f"TRUNCATE {QUEUE}")
            scenario.last_words(world)
        deleted = ["named", "public", "knocking", "abandoned", "upgraded"]
        left = connection.execute(
            "SELECT room_id FROM rooms WHERE room_id = ANY (%s)", ([world.rooms[name] for name in deleted],)
        )
        assert left.fetchall() == []

        before = row_versions(connection)
        synapse.change_version(NEW)
        synapse.wait_for_background_updates()
        assert row_versions(connection) == before, "the start-up check rewrote rows"
        assert not was_ever_queued(connection)
        check_room_lists(world, connection)

        with drift_after_each_request(world, connection):
            world.bob.leave(unknown)
            world.alice.set_name(unknown, "Known again")
            world.alice.leave(world.rooms["restricted"])
            world.bob.leave(world.rooms["restricted"])
        check_room_lists(world, connection)
        check_restart_after_a_last_leave(world, connection)
        assert drift(connection, world.names) == []
        assert_nothing_failed(synapse)


@pytest.mark.long
def test_no_stale_row_at_any_commit(database: str, cluster: Cluster) -> None:
    """The same journey, with a look at the tables before the homeserver hears that it has committed."""
    cluster.execute("CREATE EXTENSION sliding_sync", database)
    with cluster.connect(database) as connection, cluster.connect(database) as another:
        look = DriftAtCommits(another)
        with CommitGate(cluster.port, look) as gate:
            arguments = cluster.conninfo(database, ROLE) | gate.ARGUMENTS | {"port": gate.port, "cp_max": 5}
            configuration = CONFIGURATION | {"database": {"name": "psycopg2", "args": arguments}}
            with Synapse(NEW, cluster, database, configuration=configuration) as synapse:
                world = World(synapse)
                play_and_check(world, scenario.steps(scenario.users, scenario.change_profile))
                synapse.change_version(OLD)
                play_and_check(world, scenario.steps(scenario.knock, scenario.last_words))
                synapse.change_version(NEW)
                synapse.wait_for_background_updates()
                check_room_lists(world, connection)
        look.findings.assert_none()
        assert look.checks > 1000, "the gate was not used"


def check_restart_after_a_last_leave(world: World, connection: Connection) -> None:
    """The newest event is in a room without a row: the start-up check looks at that room, and deletes nothing."""
    before = row_versions(connection)
    world.synapse.change_version(NEW)
    world.synapse.wait_for_background_updates()
    assert row_versions(connection) == before, "the start-up check rewrote rows"
    assert was_ever_queued(connection) and queued(connection) == []
    check_room_lists(world, connection)


@pytest.mark.long
def test_downgrade_with_the_triggers_switched_off(blank: str, cluster: Cluster) -> None:
    """What nobody keeps goes stale, and the oracle sees it; catch_up() finds every stale row and mends it."""
    with neglected_database(cluster, NEW, OLD) as (database, names), cluster.connect(database) as connection:
        findings = check(connection)
        for table in writers.TABLES:
            columns = {finding.column for finding in findings if finding.table == table}
            assert columns >= {ROW, "event_stream_ordering", "room_name"}, drift(connection, dict(names))

        had_gap, rooms, memberships, quarantined = _catch_up(connection)
        assert had_gap and rooms and memberships and not quarantined
        assert drift(connection, dict(names)) == []
        assert _catch_up(connection) == (False, 0, 0, 0)

        before = row_versions(connection)
        with Synapse(NEW, cluster, database, configuration=CONFIGURATION) as synapse:
            synapse.wait_for_background_updates()
            assert row_versions(connection) == before, "the start-up check rewrote rows"
            assert_nothing_failed(synapse)


def _catch_up(connection: Connection) -> tuple[bool, int, int, int]:
    row = connection.execute(
        "SELECT had_gap, joined_rooms, memberships, quarantined FROM sliding_sync.catch_up()"
    ).fetchone()
    assert row
    return row


# -- from a version that is older than the tables


def test_first_install_before_the_upgrade(blank: str, empty_database: str, cluster: Cluster) -> None:
    """The homeserver's own schema deltas and background updates run over tables that the extension made."""
    with (
        cluster.connect(empty_database) as connection,
        Synapse(OLD, cluster, empty_database, configuration=CONFIGURATION) as synapse,
    ):
        synapse.wait_for_background_updates()
        world = World(synapse)
        play_and_check(world, scenario.steps(scenario.users, scenario.kick_and_come_back))

        connection.execute("CREATE EXTENSION sliding_sync")
        older = {finding.key for finding in check(connection)}
        assert older, "nothing is older than the triggers"

        def look(_step: str) -> list[str]:
            """Rows are right, or still missing where they are older than the triggers."""
            return [str(found) for found in check(connection) if not is_missing(found, older)]

        play_and_check(world, scenario.steps(scenario.ban_and_unban, scenario.usable_name), look)
        assert any(is_missing(found, older) for found in check(connection)), "nothing is left for the upgrade"

        synapse.change_version(NEW)
        # Work goes on while the background updates run.
        play_and_check(world, scenario.steps(scenario.upgrade, scenario.rejoin_forgotten), look)
        synapse.wait_for_background_updates()
        assert drift(connection, world.names) == []
        assert queued(connection) == []
        check_room_lists(world, connection)
        scenario.last_words(world)
        assert drift(connection, world.names) == []

        before = row_versions(connection)
        synapse.change_version(NEW)
        synapse.wait_for_background_updates()
        assert row_versions(connection) == before, "the start-up check rewrote rows"
        check_room_lists(world, connection)
        assert_nothing_failed(synapse)
    native = definitions(cluster, blank)
    assert sum(line.startswith("CREATE TABLE") for line in native) == 3
    assert definitions(cluster, empty_database) == native


def is_missing(finding: Finding, older: set[tuple[str, ...]]) -> bool:
    return finding.column == ROW and finding.actual == "absent" and finding.key in older


def definitions(cluster: Cluster, database: str) -> list[str]:
    """The derived tables with all that belongs to them but our triggers, as SQL."""
    info = cluster.conninfo(database)
    tables = [word for table in (*writers.TABLES, QUEUE) for word in ("-t", f"public.{table}")]
    dump = processes.run(
        [cluster.bin / "pg_dump", "--schema-only", "-h", info["host"], "-p", info["port"], "-U", info["user"]]
        + [*tables, database],
        cwd=cluster.root,
    )
    lines = [line for line in dump.splitlines() if line and not line.startswith(("--", "\\"))]
    return [line for line in lines if "A_sliding_sync" not in line]


# -- versions between, played by the homeserver in SQL


def delta(file: str) -> str:
    """A step of Synapse's own schema, for PostgreSQL."""
    environment = synapse_python("1.118.0").parent.parent
    (path,) = environment.glob(f"lib/python*/site-packages/synapse/storage/schema/main/delta/{file}")
    text = path.read_text()
    return text.replace("$%AUTO_INCREMENT_PRIMARY_KEY%$", "BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY")


def test_the_version_that_has_the_number_but_not_the_tables(cluster: Cluster) -> None:
    """H40: 1.114 says 87. H39: the step of 1.115 that makes the tables then finds ours, with their rows."""
    name = create_homeserver(cluster, "1.114", extension=False, old_schema=True)
    run_psql(cluster, name, delta("87/02_per_connection_state.sql"), user=OWNER, search_path=SCHEMA)
    cluster.execute(
        "UPDATE homeserver.schema_version SET version = 87;"
        "INSERT INTO homeserver.applied_schema_deltas VALUES (87, '87/02_per_connection_state.sql')",
        name,
    )
    cluster.execute("CREATE EXTENSION sliding_sync", name)
    with connect(cluster, name) as connection:
        watcher = Watcher(connection, SCHEMA)
        connection.execute("SELECT create_room(%s, %s, name => 'Tea')", (ROOM, ANNA))
        assert not watcher.check_step()
        for _ in live(connection, seed=40, transactions=60, flushes=False):
            pass
        assert not check(connection, SCHEMA)
        kept = derived_rows(connection)

        run_psql(cluster, name, delta("87/01_sliding_sync_memberships.sql"), user=OWNER, search_path=SCHEMA)
        assert derived_rows(connection) == kept
        assert connection.execute("SELECT count(*) FROM background_updates").fetchone() == (3,)
        # its queue belongs to the homeserver now, and holds up no deletion
        connection.execute("INSERT INTO sliding_sync_joined_rooms_to_recalculate SELECT room_id FROM rooms")
        connection.execute("SELECT purge_room(room_id, old_version => false) FROM rooms")
        assert queued(connection) == []
        watcher.accept_step()
        connection.execute("SELECT create_room(%s, %s, name => 'Tea')", (ROOM, ANNA))
        assert not watcher.check_step()
    assert_nothing_in_quarantine(cluster, name)
    cluster.drop_database(name)
def test_removal_from_a_homeserver_that_is_older_than_the_tables(cluster: Cluster) -> None:
    """H83: as the README tells: without the extension the tables are in the way, so they go with it."""
    name = create_homeserver(cluster, "removal", old_schema=True)
    with connect(cluster, name) as connection:
        connection.execute("SELECT create_room(%s, %s, name => 'Tea')", (ROOM, ANNA))
        connection.execute("SELECT create_room('!other:hs.test', %s)", (ANNA,))
        connection.execute("SELECT purge_room('!other:hs.test')")  # with the extension they are not
        kept = derived_rows(connection)
        cluster.execute("DROP EXTENSION sliding_sync", name)
        assert derived_rows(connection) == kept
        with pytest.raises(psycopg.errors.ForeignKeyViolation, match="sliding_sync"):
            connection.execute("SELECT purge_room(%s)", (ROOM,))
        connection.execute("DROP TABLE sliding_sync_joined_rooms, sliding_sync_membership_snapshots")
        connection.execute("SELECT purge_room(%s)", (ROOM,))
        assert connection.execute("SELECT count(*) FROM rooms").fetchone() == (0,)
    cluster.drop_database(name)
