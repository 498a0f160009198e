"""The demo's homeserver: a database as an administrator sets it up, and what the demo asks it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, LiteralString

from psycopg import sql
from psycopg.rows import class_row, dict_row

from demo.screen import Row
from generator.world import SERVER
from harness.cluster import Cluster

DATABASE = OWNER = "synapse"
OPERATIONS = "operations"  # schema of the functions that play the homeserver

Table = Literal["sliding_sync_joined_rooms", "sliding_sync_membership_snapshots"]


@dataclass(frozen=True)
class Flush:
    joined_rooms: int
    memberships: int
    rows_written: int
    microseconds: float

    def __str__(self) -> str:
        time = (
            f"{self.microseconds:.0f} µs"
            if self.microseconds < 10_000
            else f"{self.microseconds / 1000:.0f} ms"
        )
        return f"{self.rows_written} row{'' if self.rows_written == 1 else 's'} written in {time}"


def create_database(cluster: Cluster) -> None:
    """The database, its owner, and the tables as the homeserver makes them."""
    cluster.create_role(OWNER)
    cluster.create_database(DATABASE, OWNER)
    with cluster.connect(DATABASE, OWNER) as connection:
        connection.execute(f"CREATE SCHEMA {OPERATIONS}; CREATE EXTENSION sliding_sync_test SCHEMA {OPERATIONS}")
        connection.execute(f"CALL {OPERATIONS}.make_homeserver('public')")


class Homeserver:
    """One connection of the homeserver's own role. Each operation is a transaction."""

    def __init__(self, cluster: Cluster) -> None:
        self.connection = cluster.connect(DATABASE, OWNER, options=f"-c search_path=public,{OPERATIONS}")

    def do(self, operation: str, *arguments: Any) -> Any:
        marks = sql.SQL(", ").join(sql.Placeholder() * len(arguments))
        return self.value(sql.SQL("SELECT {}({})").format(sql.Identifier(operation), marks), *arguments)

    def value(self, query: LiteralString | sql.Composed, *arguments: Any) -> Any:
        found = self.connection.execute(query, arguments).fetchone()
        return found and found[0]

    def last_flush(self) -> Flush:
        cursor = self.connection.cursor(row_factory=class_row(Flush))
        flush = cursor.execute("SELECT * FROM sliding_sync.last_flush()").fetchone()
        assert flush is not None and flush.microseconds is not None, "nothing was flushed"
        return flush

    def counts(self, query: LiteralString) -> list[tuple[str, int]]:
        return self.connection.execute(query).fetchall()

    def room(self, room_id: str) -> Row | None:
        return self._row("sliding_sync_joined_rooms", room_id=room_id)

    def snapshot(self, room_id: str, user_id: str) -> Row | None:
        return self._row("sliding_sync_membership_snapshots", room_id=room_id, user_id=user_id)

    def _row(self, table: Table, **key: str) -> Row | None:
        condition = sql.SQL(" AND ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in key)
        query = sql.SQL("SELECT * FROM {} WHERE {}").format(sql.Identifier(table), condition)
        return self.connection.cursor(row_factory=dict_row).execute(query, list(key.values())).fetchone()

    def lively_room(self) -> tuple[str, str, str]:
        """A named room, one of its members, and a user of this server who is not in it."""
        found = self.connection.execute(
            """
            SELECT j.room_id, (array_agg(m.user_id ORDER BY m.user_id))[1]
            FROM sliding_sync_joined_rooms j JOIN sliding_sync_membership_snapshots m USING (room_id)
            WHERE m.membership = 'join' AND NOT j.is_encrypted AND j.room_name IS NOT NULL
                AND j.tombstone_successor_room_id IS NULL
            GROUP BY j.room_id HAVING count(*) BETWEEN 3 AND 6 ORDER BY j.room_id LIMIT 1
            """
        ).fetchone()
        assert found is not None, "the homeserver is too small"
        return found[0], found[1], f"@newcomer:{SERVER}"
