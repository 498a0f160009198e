"""An extension that was updated from a released version is the same as one that was installed anew, and goes on working."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness.cluster import Cluster
from harness.environment import PROJECT
from oracle import check
from synthetic.database import ANNA, BERT, ROOM, SCHEMA, connect, create_homeserver
from synthetic.installed import differences, installed

Connection = psycopg.Connection[Any]

RELEASED = sorted((PROJECT / "extension/released").glob("sliding_sync--*.sql"))
VERSIONS = [path.stem.removeprefix("sliding_sync--") for path in RELEASED]
CURRENT = re.search(r"^default_version = '(.*)'", (PROJECT / "control/sliding_sync.control").read_text(), re.MULTILINE)[1]  # type: ignore[index]


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    """Of its own: the released scripts are installed in it, too."""
    with Cluster() as cluster:
        for script in RELEASED:
            shutil.copy(script, extensions(cluster))
        create_homeserver(cluster, "fresh")
        yield cluster


def extensions(cluster: Cluster) -> Path:
    (control,) = cluster.root.glob("**/extension/sliding_sync.control")
    return control.parent


@pytest.fixture
def old(own_cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A homeserver with a released version of the extension and rows in every table."""
    name = create_homeserver(own_cluster, "old", extension=False)
    own_cluster.execute(f"CREATE EXTENSION sliding_sync VERSION '{request.param}'", name)  # type: ignore[arg-type]
    with connect(own_cluster, name) as connection:
        connection.execute("SELECT create_room(%s, %s, name => 'Tea')", (ROOM, ANNA))
    yield name
    own_cluster.drop_database(name)


each_release = pytest.mark.parametrize("old", VERSIONS, indirect=True)


def test_there_is_a_release() -> None:
    assert VERSIONS and CURRENT not in VERSIONS


@each_release
def test_updated_is_installed_anew(own_cluster: Cluster, old: str) -> None:
    own_cluster.execute("ALTER EXTENSION sliding_sync UPDATE", old)
    with own_cluster.connect("fresh") as fresh, own_cluster.connect(old) as updated:
        assert updated.execute("SELECT extversion FROM pg_extension WHERE extname = 'sliding_sync'").fetchone() == (CURRENT,)
        assert differences(installed(fresh), installed(updated)) == []


@each_release
def test_rows_rights_and_notes_stay(own_cluster: Cluster, old: str) -> None:
    own_cluster.create_role("reader")
    notes = "SELECT count(*), min(attached_by) FROM sliding_sync.attachments"
    with own_cluster.connect(old) as connection:
        connection.execute("CALL sliding_sync.backfill()")
        connection.execute("GRANT EXECUTE ON FUNCTION sliding_sync.repair_quarantine() TO reader")
        connection.execute("CREATE VIEW public.of_an_admin AS SELECT * FROM sliding_sync.health")
        before = connection.execute(notes).fetchone()
        with connect(own_cluster, old) as homeserver, homeserver.transaction():
            # a session that is at work meanwhile
            homeserver.execute("SELECT rename(%s, %s, 'Coffee')", (ROOM, ANNA))
            connection.execute("SET lock_timeout = '10s'")
            connection.execute("ALTER EXTENSION sliding_sync UPDATE")
            homeserver.execute("SELECT send_message(%s, %s)", (ROOM, ANNA))
        assert connection.execute(notes).fetchone() == before
        granted = "SELECT has_function_privilege('reader', 'sliding_sync.repair_quarantine()', 'EXECUTE')"
        assert connection.execute(granted).fetchone() == (True,)
        assert connection.execute("SELECT is_ready FROM sliding_sync.ready()").fetchone() == (True,)
        assert connection.execute("TABLE public.of_an_admin").fetchall() == []
    with connect(own_cluster, old) as homeserver:
        homeserver.execute("SELECT join(%s, %s)", (ROOM, BERT))
        rows = homeserver.execute("SELECT room_name FROM sliding_sync_joined_rooms").fetchall()
        assert rows == [("Coffee",)]
    with own_cluster.connect(old) as connection:
        assert not check(connection, SCHEMA)
        connection.execute("DROP VIEW public.of_an_admin; DROP EXTENSION sliding_sync")


@each_release
def test_old_sql_with_the_new_library(own_cluster: Cluster, old: str, request: pytest.FixtureRequest) -> None:
    """What a new package leaves until ALTER EXTENSION: everything goes on, and it is said what to do."""
    with connect(own_cluster, old) as homeserver:
        homeserver.execute("SELECT rename(%s, %s, 'Coffee')", (ROOM, ANNA))
    with own_cluster.connect(old) as connection:
        assert not check(connection, SCHEMA)
        told = "SELECT severity, remedy FROM sliding_sync.health WHERE code = 'version_differs'"
        assert connection.execute(told).fetchall() == [("warning", "ALTER EXTENSION sliding_sync UPDATE")]
        connection.execute("ALTER EXTENSION sliding_sync UPDATE")
        assert connection.execute(told).fetchall() == []


def library_that_says(version: str, cluster: Cluster, folder: Path) -> Path:
    """Today's code under an older version's name: one file to compile."""
    objects_fit = cluster.tree is None
    for name in ("src", "extension", "control", "Makefile", *(["build/server"] if objects_fit else [])):
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy2
        (folder / name).parent.mkdir(exist_ok=True)
        copy(PROJECT / name, folder / name)
    control = folder / "control/sliding_sync.control"
    control.write_text(control.read_text().replace(CURRENT, version))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    make = ["make", "-s", "-C", folder, "sliding_sync.so", f"PG_CONFIG={cluster.pg_config}", *cluster.make_flags]
    subprocess.run(make, env=environment, check=True)
    return folder / "sliding_sync.so"


@each_release
def test_new_sql_with_the_old_library(own_cluster: Cluster, old: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """As after a package went back."""
    own_cluster.execute("ALTER EXTENSION sliding_sync UPDATE", old)
    version = request.node.callspec.params["old"]
    installed_library = own_cluster.library
    built = library_that_says(version, own_cluster, tmp_path)
    aside = installed_library.rename(installed_library.with_suffix(".aside"))
    try:
        shutil.copy(built, installed_library)
        with own_cluster.connect(old) as connection:
            told = connection.execute("SELECT detail, remedy FROM sliding_sync.health WHERE code = 'version_differs'")
            ((detail, remedy),) = told.fetchall()
            assert f"The library is {version} and the SQL is {CURRENT}" in detail
            assert "Install the extension's package" in remedy and CURRENT in remedy
    finally:
        aside.rename(installed_library)


DAMAGES = (
    "COMMENT ON COLUMN sliding_sync.runs.tables IS NULL",
    "COMMENT ON FUNCTION sliding_sync.ready(text) IS 'other'",
    "GRANT EXECUTE ON FUNCTION sliding_sync.repair_quarantine() TO PUBLIC",
    "REVOKE SELECT ON sliding_sync.schemas FROM PUBLIC",
    "ALTER FUNCTION sliding_sync.version() VOLATILE",
    "ALTER TABLE sliding_sync.runs ADD COLUMN more text",
    "ALTER TABLE sliding_sync.runs ALTER COLUMN tables DROP NOT NULL",
    "ALTER TABLE sliding_sync.runs DISABLE TRIGGER drop_replicated_row",
    "DROP INDEX sliding_sync.quarantine_room_id_idx",
    "ALTER SEQUENCE sliding_sync.lost_records CACHE 10",
    "ALTER EXTENSION sliding_sync DROP FUNCTION sliding_sync.version()",
    "ALTER TABLE homeserver.events DISABLE TRIGGER \"A_sliding_sync\"",
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_difference_is_noticed(own_cluster: Cluster, damage: str) -> None:
    with own_cluster.connect("fresh", autocommit=False) as connection:
        before = installed(connection)
        connection.execute(damage)  # type: ignore[arg-type]
        assert differences(before, installed(connection)) != []
        connection.rollback()
