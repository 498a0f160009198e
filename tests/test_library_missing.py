"""The server finds no library of ours: a container made anew from the stock image, an upgrade of the system,
another host. What an administrator needs then is written in SQL.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness import processes
from harness.cluster import SUPERUSER, Cluster
from harness.standby import Standby
from oracle import check
from synthetic.database import ANNA, OWNER, ROOM, SCHEMA, connect, create_homeserver

Connection = psycopg.Connection[Any]

DAMAGES = ("missing", "unreadable", "without a library of its own")
TRIGGERS = (
    "SELECT count(*) FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid WHERE p.proname LIKE 'collect%'"
)


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    """Of its own: others need their library."""
    with Cluster() as cluster:
        create_homeserver(cluster, "complete")
        with connect(cluster, "complete") as connection:
            connection.execute("SELECT create_room(%s, %s, name => 'Tea')", (ROOM, ANNA))
        cluster.execute("CALL sliding_sync.backfill()", "complete")
        yield cluster


@pytest.fixture
def database(own_cluster: Cluster) -> Iterator[str]:
    yield own_cluster.create_database("bereft", OWNER, "complete")
    own_cluster.drop_database("bereft")


@contextmanager
def library_gone(cluster: Cluster, damage: str = "missing") -> Iterator[None]:
    library = cluster.library
    aside = library.with_suffix(".aside")
    library.rename(aside)
    if damage == "unreadable":
        library.write_bytes(b"")
    elif damage == "without a library of its own":
        depend_on_nothing_there(aside, library)
    try:
        yield
    finally:
        library.unlink(missing_ok=True)
        aside.rename(library)


def depend_on_nothing_there(source: Path, target: Path) -> None:
    """A copy that names another library than there is, as when a package that it needs was removed."""
    content = source.read_bytes()
    needed = b"libstdc++.so.6"
    assert needed in content
    target.write_bytes(content.replace(needed, b"libstdc++.so.0"))


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_said_and_the_way_out(own_cluster: Cluster, database: str, damage: str) -> None:
    with library_gone(own_cluster, damage):
        with connect(own_cluster, database) as homeserver:
            with pytest.raises(
                psycopg.Error, match="could not (access file|load library)|file too short"
            ) as failure:
                homeserver.execute("SELECT send_message(%s, %s)", (ROOM, ANNA))
            assert failure.value.sqlstate in ("58P01", "XX000", "58000")
            # readers are served
            rows = homeserver.execute("SELECT room_name FROM sliding_sync_joined_rooms").fetchall()
            assert rows == [("Tea",)]
        with own_cluster.connect(database) as connection:
            health = connection.execute(
                "SELECT severity, detail, remedy FROM sliding_sync.health WHERE code = 'library_missing'"
            )
            severity, detail, remedy = health.fetchall()[0]
            assert severity == "error" and "cannot be loaded" in detail and "sliding_sync.detach()" in remedy
            for statement in (
                "TABLE sliding_sync.health",
                "TABLE sliding_sync.status",
                "TABLE sliding_sync.schemas",
                "TABLE sliding_sync.triggers",
                "TABLE sliding_sync.progress",
                "TABLE sliding_sync.metrics",
            ):
                connection.execute(statement)
            version = connection.execute(
                "SELECT library_version, attached_schemas FROM sliding_sync.version()"
            )
            assert version.fetchone() == (None, [SCHEMA])
            ready = connection.execute("SELECT * FROM sliding_sync.ready()").fetchone()
            assert ready == (True, []), "nothing can be written without the library: what is there is right"
            assert connection.execute("SELECT sliding_sync.detach()").fetchone() == (1,)
            assert connection.execute(TRIGGERS).fetchone() == (0,)
        with connect(own_cluster, database) as homeserver:
            homeserver.execute("SELECT rename(%s, %s, 'Coffee')", (ROOM, ANNA))
    # the library is back
    with connect(own_cluster, database, SUPERUSER) as connection:
        connection.execute("SELECT sliding_sync.attach()")
        ready = connection.execute("SELECT reasons FROM sliding_sync.ready()").fetchone()
        assert ready == (["bypassed_writes"],)
        connection.execute("CALL sliding_sync.backfill()")
        assert connection.execute("SELECT * FROM sliding_sync.ready()").fetchone() == (True, [])
        assert not check(connection, SCHEMA)


def test_nothing_was_lost_where_the_library_comes_back_first(own_cluster: Cluster, database: str) -> None:
    """Every write failed meanwhile, so there is nothing to catch up with."""
    with library_gone(own_cluster), connect(own_cluster, database) as homeserver:
        with pytest.raises(psycopg.errors.UndefinedFile):
            homeserver.execute("SELECT send_message(%s, %s)", (ROOM, ANNA))
    with connect(own_cluster, database) as homeserver:
        homeserver.execute("SELECT send_message(%s, %s)", (ROOM, ANNA))
        assert homeserver.execute("SELECT * FROM sliding_sync.ready()").fetchone() == (True, [])
        assert not check(homeserver, SCHEMA)


def test_drop_extension(own_cluster: Cluster, database: str) -> None:
    with library_gone(own_cluster):
        own_cluster.execute("DROP EXTENSION sliding_sync", database)
        with connect(own_cluster, database) as homeserver:
            homeserver.execute("SELECT send_message(%s, %s)", (ROOM, ANNA))


def test_detach_waits_in_short_attempts(own_cluster: Cluster, database: str) -> None:
    """And leaves the session's lock_timeout alone."""
    with connect(own_cluster, database, autocommit=False) as holder, own_cluster.connect(
        database
    ) as connection:
        holder.execute("SELECT FROM events")
        connection.execute("SET lock_timeout = '3s'; SET statement_timeout = '2s'")
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT sliding_sync.detach()")
        holder.rollback()
        assert connection.execute("SELECT sliding_sync.detach('homeserver')").fetchone() == (1,)
        assert connection.execute("SHOW lock_timeout").fetchone() == ("3s",)
        assert connection.execute("SELECT sliding_sync.detach('homeserver')").fetchone() == (0,)
        assert connection.execute("SELECT FROM sliding_sync.attachments").fetchall() == []


def test_a_standby_without_the_library_serves_readers(own_cluster: Cluster, database: str) -> None:
    """It shares the primary's installation here; nothing of the library is needed until it is promoted."""
    with Standby(own_cluster) as standby, library_gone(own_cluster):
        with connect(standby, database) as homeserver:
            rows = homeserver.execute("SELECT room_name FROM sliding_sync_joined_rooms").fetchall()
            assert rows == [("Tea",)]
            assert homeserver.execute("SELECT * FROM sliding_sync.ready()").fetchone() == (True, [])
        with standby.connect(database) as connection:
            codes = connection.execute("SELECT code FROM sliding_sync.health").fetchall()
            assert codes == [("library_missing",)]
            connection.execute("TABLE sliding_sync.status")


@pytest.mark.parametrize("mode", [[], ["--link"]], ids=["copied", "linked"])
def test_pg_upgrade(mode: list[str]) -> None:
    """Both servers have the package: tables, triggers and the record come along, and catch_up() is enough."""
    with Cluster() as old, Cluster() as new:
        create_homeserver(old, "upgraded")
        with connect(old, "upgraded") as connection:
            connection.execute("SELECT create_room(%s, %s, name => 'Tea')", (ROOM, ANNA))
        old.execute("CALL sliding_sync.backfill()", "upgraded")
        old.stop()
        new.stop()
        upgrade = [
            new.bin / "pg_upgrade",
            *mode,
            "-U",
            SUPERUSER,
            "-b",
            old.bin,
            "-B",
            new.bin,
            "-d",
            old.data,
        ]
        upgrade += ["-D", new.data, "-s", new.socket_directory]
        with library_gone(new), pytest.raises(RuntimeError, match="library|librar"):
            processes.run([*upgrade, "--check"], cwd=new.socket_directory)
        processes.run(upgrade, cwd=new.socket_directory)
        new.start()
        with connect(new, "upgraded", SUPERUSER) as connection:
            attached = connection.execute("SELECT attached_schemas FROM sliding_sync.version()").fetchone()
            assert attached == ([SCHEMA],)
            ready = connection.execute("SELECT * FROM sliding_sync.ready()").fetchone()
            assert ready == (False, ["bypassed_writes"]), "the catalog was made anew"
            connection.execute("SELECT sliding_sync.catch_up()")
            assert connection.execute("SELECT * FROM sliding_sync.ready()").fetchone() == (True, [])
        with connect(new, "upgraded") as connection:
            connection.execute("SELECT rename(%s, %s, 'Coffee')", (ROOM, ANNA))
            assert not check(connection, SCHEMA)
