"""Every column that the fact readers use, of every base table: changed, inserted late, deleted, each in a transaction of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from harness.cluster import SUPERUSER, Cluster
from oracle import Watcher
from synthetic.database import SCHEMA, SEARCH_PATH, create_homeserver

Connection = psycopg.Connection[Any]

SOURCES = Path(__file__).parent.parent / "src" / "live"
STRIPPED = '[{"type": "m.room.name", "state_key": "", "content": {"name": "Far"}, "sender": "@x:far.test"}]'
# Of no more use here than the room's name.
UNCONCERNED = ["m.room.power_levels", "m.room.join_rules", "m.room.history_visibility", "m.room.canonical_alias"]
LEVELS = ["read committed", "repeatable read"]

# Different from what a row holds, of the same kind.
OTHERS: dict[str, list[Any]] = {
    "event_id": ["$elsewhere"],
    "room_id": ["!other:hs.test", "!nowhere:hs.test"],
    "user_id": ["@carl:hs.test", "@nobody:hs.test"],
    "state_key": ["@carl:hs.test", "", None],
    "type": ["m.room.name", "m.room.member", "m.room.message", "m.room.redaction"],
    "sender": ["@carl:hs.test", "@x:far.test", None],
    "outlier": [True, False],
    "instance_name": ["worker", None],
    "stream_ordering": [100000, -100000, None],
    "topological_ordering": [100000],
    "rejection_reason": ["auth_error"],
    "json": ["{}", "{", STRIPPED],
    "internal_metadata": ["{}", '{"out_of_band_membership": true}', '{"recheck_redaction": true}'],
    "redacts": ["$elsewhere"],
    "recheck": [True, False],
    "redacting_event_id": ["$elsewhere"],
    "redact_end_ordering": [1, None],
    "membership": ["join", "leave", "invite"],
    "forgotten": [0, 1, None],
}


def watched_columns() -> dict[str, list[str]]:
    """Table -> columns, as the collector lists them."""
    found: dict[str, list[str]] = {}
    for file in ("collect_events.cpp", "collect_memberships.cpp"):
        for block in (SOURCES / file).read_text().split("\nnamespace ")[1:]:
            listed = re.search(r"watched\{(.*?)\};", block, re.S)
            if listed:
                found[block.split()[0]] = re.findall(r'\{"(\w+)", ColumnKind', listed[1])
    return found


WATCHED = watched_columns()

SCENARIO = f"""
    SELECT create_room('!r:hs.test', '@anna:hs.test', name => 'Tea');
    SELECT create_room('!other:hs.test', '@anna:hs.test', name => 'Milk');
    SELECT "join"('!r:hs.test', '@bert:hs.test');
    SELECT "leave"('!r:hs.test', '@bert:hs.test');
    SELECT forget('!r:hs.test', '@bert:hs.test');
    SELECT "invite"('!r:hs.test', '@dora:hs.test', '@anna:hs.test');
    SELECT "join"('!r:hs.test', '@old:hs.test');
    SELECT send_message('!r:hs.test', '@anna:hs.test');
    SELECT remote_invite('!far:far.test', '@anna:hs.test', '@x:far.test', '{STRIPPED}');
    SELECT remote_invite('!gone:far.test', '@bert:hs.test', '@x:far.test', '{STRIPPED}');
    SELECT reject_remote_invite('!gone:far.test', '@bert:hs.test');
    SELECT redact('!other:hs.test', '@anna:hs.test', event_id) FROM current_state_events
        WHERE type = 'm.room.name' AND room_id = '!other:hs.test';
    UPDATE events SET state_key = NULL, sender = NULL WHERE type = 'm.room.member' AND state_key = '@old:hs.test';
    INSERT INTO room_ban_redactions SELECT room_id, '@nobody:hs.test', event_id, NULL FROM events
        WHERE type = 'm.room.redaction';
    SELECT reject_event('!r:hs.test', '@anna:hs.test', 'm.room.message');
"""


@pytest.fixture(scope="module")
def template(cluster: Cluster) -> str:
    name = create_homeserver(cluster, "watched_template", owner=SUPERUSER)
    with cluster.connect(name) as connection:
        connection.execute(f"SET search_path = {SEARCH_PATH}")
        for statement in SCENARIO.split(";\n"):
            if statement.strip():
                connection.execute(statement)  # type: ignore[arg-type]
        # what a homeserver has beside its tables would only forbid what is tried here
        connection.execute(
            "DO $$ DECLARE k record; BEGIN FOR k IN SELECT conname, conrelid::regclass AS t FROM pg_constraint"
            " WHERE contype = 'f' AND conrelid::regclass::text NOT LIKE '%sliding_sync%' LOOP"
            " EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', k.t, k.conname); END LOOP; END $$"
        )
        # state groups of leaves are read by a recompute only; the oracle reads state keys from state_events first
        connection.execute("TRUNCATE event_to_state_groups, state_events")
        connection.execute("CALL sliding_sync.backfill()")
    return name


@pytest.fixture
def connection(cluster: Cluster, template: str) -> Iterator[Connection]:
    name = cluster.create_database("watched", template=template)
    with cluster.connect(name) as connection:
        connection.execute(f"SET search_path = {SEARCH_PATH}")
        connection.execute("SET client_min_messages = error")
        yield connection
    cluster.drop_database(name)


class Walk:
    """Takes one step after another, each a transaction, and remembers what was wrong after it."""

    def __init__(self, connection: Connection, table: str) -> None:
        self.connection, self.table = connection, sql.Identifier(SCHEMA, table)
        self.watcher = Watcher(connection, SCHEMA)
        self.wrong: list[str] = []

    def step(self, what: str, query: sql.Composable, values: list[Any]) -> bool:
        """False where the table itself does not allow it."""
        try:
            changed = self.connection.execute(query, values).rowcount  # type: ignore[arg-type]
        except (psycopg.errors.IntegrityError, psycopg.errors.CheckViolation):
            return False
        findings = [str(finding) for finding in self.watcher.check_step()]
        findings += map(str, self.connection.execute(
            "SELECT room_id, user_id, column_name, expected, actual, reason FROM sliding_sync.verify()"
            " WHERE severity IN ('visible', 'hidden') AND NOT (column_name IS NULL AND reason LIKE '%%missing%%'"
            " AND (room_id, user_id) IN (SELECT room_id, user_id FROM local_current_membership"
            " WHERE membership IN ('leave', 'ban')))"))
        self.wrong += [f"{what}: {finding}" for finding in findings]
        if findings:  # what follows shall not be blamed for it
            self.connection.execute("SELECT * FROM sliding_sync.repair()")
            self.watcher.accept_step()
        return changed == 1

    def is_it(self, row: dict[str, Any]) -> tuple[sql.Composable, list[Any]]:
        conditions = sql.SQL(" AND ").join(
            sql.SQL("{} IS NOT DISTINCT FROM %s").format(sql.Identifier(column)) for column in row
        )
        return conditions, list(row.values())

    def update(self, row: dict[str, Any], column: str, value: Any) -> None:
        assign = sql.SQL("UPDATE {} SET {} = %s WHERE ").format(self.table, sql.Identifier(column))
        changed = row | {column: value}
        condition, values = self.is_it(row)
        if self.step(f"{column} = {value!r} for {brief(row)}", assign + condition, [value, *values]):
            condition, values = self.is_it(changed)
            self.step(f"{column} back for {brief(row)}", assign + condition, [row[column], *values])

    def delete_and_insert(self, row: dict[str, Any], inserted: dict[str, Any]) -> None:
        condition, values = self.is_it(row)
        if self.step(f"deleted {brief(row)}", sql.SQL("DELETE FROM {} WHERE ").format(self.table) + condition, values):
            columns = sql.SQL(", ").join(map(sql.Identifier, inserted))
            places = sql.SQL(", ").join([sql.Placeholder()] * len(inserted))
            insert = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(self.table, columns, places)
            self.step(f"late {brief(inserted)}", insert, list(inserted.values()))


def brief(row: dict[str, Any]) -> str:
    return " ".join(str(row[c])[:30] for c in ("event_id", "room_id", "type", "state_key", "user_id", "membership", "redacts") if c in row)


def rows_of(connection: Connection, table: str) -> list[dict[str, Any]]:
    query = sql.SQL("SELECT * FROM {} ORDER BY 1, 2").format(sql.Identifier(SCHEMA, table))
    return connection.cursor(row_factory=dict_row).execute(query).fetchall()


def test_the_lists_are_those_of_all_base_tables() -> None:
    assert sorted(WATCHED) == sorted(
        "events event_json rejections redactions room_ban_redactions rooms room_memberships current_state_events"
        " local_current_membership".split()
    )


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("table", WATCHED)
def test_what_the_readers_read_makes_a_key_pending(connection: Connection, table: str, level: str) -> None:
    connection.execute(f"SET default_transaction_isolation = '{level}'")
    walk = Walk(connection, table)
    unconcerned = {e for (e,) in connection.execute("SELECT event_id FROM events WHERE type = ANY(%s)", [UNCONCERNED])}
    for row in rows_of(connection, table):
        if row.get("type") in UNCONCERNED or row.get("event_id") in unconcerned:
            continue
        for column in WATCHED[table]:
            for other in OTHERS[column]:
                if other != row[column]:
                    walk.update(row, column, other)
        walk.delete_and_insert(row, row)
    assert not walk.wrong, "\n".join(walk.wrong)
