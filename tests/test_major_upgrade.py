"""pg_upgrade from major to major, as docs/upgrade.md says, with two homeservers in one cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
import pytest

from harness import processes
from harness.cluster import SUPERUSER, Cluster
from harness.environment import cache_directory, wheel_tree
from harness.synapse import ROLE, Synapse
from homeserver import scenario
from homeserver.checks import assert_nothing_failed, check_room_lists, drift, drift_after_each_request, play_and_check
from homeserver.scenario import World
from oracle import Watcher
from property.random_homeserver import live
from synthetic.database import ANNA, ROOM, SCHEMA, connect, create_homeserver

pytestmark = pytest.mark.long

Connection = psycopg.Connection[Any]

VERSION = "1.163.2"
MAJORS = [
    major
    for major in ("15", "16", "17", "18", "19")
    if (tree := wheel_tree(major)) is None or (tree / "bin/postgres").exists()
]
# A 15 of Debian's last point release, if scripts/check asserts has built one: see takes().
OLDER_15 = cache_directory() / "asserts/server"
# In a root of another distribution there may be none.
HAS_SYNAPSE = (cache_directory() / f"synapse-{VERSION}" / "bin/python").exists()
PARTS = (
    scenario.steps(scenario.users, scenario.kick_and_come_back),
    scenario.steps(scenario.ban_and_unban, scenario.usable_name),
    scenario.steps(scenario.upgrade, scenario.bump_after_purge),
    scenario.steps(scenario.redact_name_before_purge, scenario.last_words),
)


def ready(connection: Connection) -> tuple[bool, list[str]]:
    row = connection.execute("SELECT * FROM sliding_sync.ready()").fetchone()
    assert row
    return row


def takes(new: Cluster, old: Cluster) -> bool:
    """From 15.20 and 17.12 on a server stores an option of its own (pg_attver) with each column. A server without it
    refuses the definition of any table that its own pg_dump, as pg_upgrade runs it, has read there."""
    query: LiteralString = "SELECT DISTINCT split_part(unnest(attoptions), '=', 1) FROM pg_attribute"
    return set(old.execute(query)) <= set(new.execute(query))


def longest_way(clusters: list[Cluster]) -> list[Cluster]:
    ways = [clusters[:1]]
    for new in clusters[1:]:
        if takes(new, ways[-1][-1]):
            ways[-1].append(new)
        else:
            ways.append([new])
    return max(ways, key=len)


def upgrade(old: Cluster, new: Cluster) -> None:
    old.stop()
    new.stop()
    folders = ["-b", old.bin, "-B", new.bin, "-d", old.data, "-D", new.data, "-s", new.socket_directory]
    try:
        processes.run([new.bin / "pg_upgrade", "-U", SUPERUSER, *folders], cwd=new.socket_directory)
    except RuntimeError as error:
        for log in new.data.glob("pg_upgrade_output.d/*/log/*_dump_*.log"):
            _, found, cause = log.read_text(errors="replace").partition("error: ")
            error.add_note(found + cause[:1500])
        raise
    new.start()


class HomeserverInSql:
    def __init__(self, cluster: Cluster) -> None:
        self.database = create_homeserver(cluster, "in sql")
        self.seed = 0
        with connect(cluster, self.database) as connection:
            connection.execute("SELECT create_room(%s, %s, name => 'Tea')", (ROOM, ANNA))

    def go_on(self, cluster: Cluster) -> None:
        self.seed += 1
        with connect(cluster, self.database) as connection:
            watcher = Watcher(connection, SCHEMA)
            connection.execute("SELECT rename(%s, %s, %s)", (ROOM, ANNA, f"Tea {self.seed}"))
            assert not watcher.check_step()
            for _ in live(connection, seed=self.seed, transactions=60, flushes=False):
                assert not watcher.check_step()


def assert_compared_and_ready(connection: Connection, call: str) -> None:
    assert ready(connection) == (False, ["bypassed_writes"]), "the catalog was made anew"
    connection.execute(call)
    assert ready(connection) == (True, [])
    assert connection.execute("SELECT FROM sliding_sync.verify() WHERE severity <> 'unverifiable'").fetchall() == []


@contextmanager
def real_homeserver(cluster: Cluster) -> Iterator[World | None]:
    if not HAS_SYNAPSE:
        yield None
        return
    cluster.create_role(ROLE)
    database = cluster.create_database("synapse", ROLE)
    with Synapse(VERSION, cluster, database) as synapse:
        synapse.wait_for_background_updates()
        yield World(synapse)


def play_part(world: World, cluster: Cluster, part: tuple[scenario.Step, ...]) -> None:
    with cluster.connect("synapse") as connection:
        with drift_after_each_request(world, connection):
            play_and_check(world, part)
        check_room_lists(world, connection)
        assert ready(connection) == (True, [])


def servers() -> list[Cluster]:
    """One of each major, without the extension yet."""
    clusters = [Cluster(major=major, extension=False) for major in MAJORS]
    if "15" in MAJORS and (OLDER_15 / "bin/postgres").exists():
        clusters.append(Cluster(major="15", extension=False, tree=OLDER_15))
    return clusters


def the_way(clusters: list[Cluster]) -> list[Cluster]:
    """Those that one upgrade after the other goes through."""
    for cluster in clusters:
        cluster.create()
        cluster.start()
    fifteens = [cluster for cluster in clusters if cluster.major == "15"]
    later = [cluster for cluster in clusters if cluster.major != "15"]
    ways = [longest_way([fifteen, *later]) for fifteen in fifteens] or [longest_way(later)]
    way = max(ways, key=len)
    for cluster in clusters:
        if cluster in way:
            cluster.install_extension()
        else:
            cluster.stop()
    return way


@pytest.mark.skipif(len(MAJORS) < 2, reason="scripts/test-environment postgresql")
def test_from_major_to_major() -> None:
    clusters = servers()
    try:
        first, *others = the_way(clusters)
        if not others:
            pytest.skip("none of these servers takes the columns of another one")
        print("pg_upgrade:", *(cluster.execute("SHOW server_version")[0][0] for cluster in (first, *others)), sep="\n    ")
        in_sql = HomeserverInSql(first)
        with connect(first, in_sql.database, SUPERUSER) as connection:
            connection.execute("CALL sliding_sync.backfill()")
            assert ready(connection) == (True, [])
        in_sql.go_on(first)
        with real_homeserver(first) as world:
            if world:
                first.execute("CREATE EXTENSION sliding_sync", "synapse")
                first.execute("CALL sliding_sync.backfill()", "synapse")
                play_part(world, first, PARTS[0])
            old = first
            for new, part in zip(others, PARTS[1:]):
                if world:
                    world.synapse.stop()
                upgrade(old, new)
                with connect(new, in_sql.database, SUPERUSER) as connection:
                    assert_compared_and_ready(connection, "SELECT sliding_sync.catch_up()")
                in_sql.go_on(new)
                if world:
                    world.synapse.cluster = new
                    world.synapse.start()
                    with new.connect("synapse") as connection:
                        assert drift(connection, world.names) == []
                        assert_compared_and_ready(connection, "CALL sliding_sync.backfill()")
                    play_part(world, new, part)
                    assert_nothing_failed(world.synapse)
                old = new
            old.stop()
    finally:
        for cluster in clusters:
            cluster.destroy()
