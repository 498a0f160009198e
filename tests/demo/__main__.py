"""The tour itself."""

from __future__ import annotations

import atexit
import os
import sys
import time
from typing import Callable

from demo import screen
from demo.homeserver import DATABASE, OWNER, Homeserver, create_database
from demo.program import fill_and_verify
from generator import generate
from generator.world import Chapter
from harness import processes
from harness.cluster import SUPERUSER, Cluster
from harness.tool import program
from oracle.check import check_picture, count_rows
from oracle.picture import take_picture


def main() -> int:
    began = time.monotonic()
    cluster = Cluster()
    with cluster:
        set_up(cluster)
        homeserver = Homeserver(cluster)
        with homeserver.connection:
            load(homeserver, int(os.environ.get("ROOMS", "3000")))
            count(homeserver)
            live(homeserver)
            fill_and_verify(cluster)
            exact = verify(homeserver)
        screen.heading(f"{time.monotonic() - began:.0f} s in all")
        if os.environ.get("KEEP") == "1":
            keep(cluster)
    return 0 if exact else 1


def set_up(cluster: Cluster) -> None:
    screen.heading("A homeserver's database, and the extension in it")
    create_database(cluster)
    cluster.execute("CREATE EXTENSION sliding_sync", DATABASE, SUPERUSER)
    ((library, _, schemas),) = cluster.execute("SELECT * FROM sliding_sync.version()", DATABASE)
    screen.fact(f"sliding_sync {library}, attached to the tables of: {', '.join(schemas)}")


def load(homeserver: Homeserver, rooms: int) -> None:
    screen.heading(f"{rooms} rooms, loaded with the triggers on")

    def report(chapter: Chapter) -> None:
        if chapter.events:
            screen.fact(f"{chapter.title:<24} {len(chapter.events):>6} events   {homeserver.last_flush()}")

    began = time.monotonic()
    generate(homeserver.connection, "public", rooms, report=report)
    homeserver.connection.execute("ANALYZE")
    homeserver.connection.execute("SET search_path = public, operations")
    screen.remark(f"loaded in {time.monotonic() - began:.1f} s")


def count(homeserver: Homeserver) -> None:
    screen.heading("What there is now")
    for name, number in homeserver.counts(
        """
        SELECT 'events', count(*) FROM events
        UNION ALL SELECT 'current state', count(*) FROM current_state_events
        UNION ALL SELECT 'sliding_sync_joined_rooms', count(*) FROM sliding_sync_joined_rooms
        UNION ALL SELECT 'sliding_sync_membership_snapshots', count(*) FROM sliding_sync_membership_snapshots
        """
    ):
        screen.fact(f"{name:<34} {number:>7}")
    for membership, number in homeserver.counts(
        "SELECT membership, count(*) FROM sliding_sync_membership_snapshots GROUP BY 1 ORDER BY 2 DESC"
    ):
        screen.fact(f"  {membership:<32} {number:>7}")


def live(homeserver: Homeserver) -> None:
    """One room's days. The homeserver writes its own tables only."""
    room, member, newcomer = homeserver.lively_room()
    screen.heading("One room")
    before = homeserver.room(room)
    screen.row("sliding_sync_joined_rooms", before, before)

    def step(title: str, operation: Callable[[], object]) -> None:
        nonlocal before
        screen.heading(title)
        operation()
        flush = homeserver.last_flush()
        after = homeserver.room(room)
        screen.row("sliding_sync_joined_rooms", after, before)
        screen.remark(str(flush))
        before = after

    step(
        "A message: the room moves to the top of the list",
        lambda: homeserver.do("send_message", room, member),
    )
    step("The room gets a name", lambda: homeserver.do("rename", room, member, "Demo room"))
    step(f"{newcomer} joins", lambda: homeserver.do("join", room, newcomer))
    joined = homeserver.snapshot(room, newcomer)
    screen.row("sliding_sync_membership_snapshots", joined, None)

    screen.heading(f"{newcomer} leaves, then the room is renamed: history stays")
    homeserver.do("leave", room, newcomer)
    screen.remark(str(homeserver.last_flush()))
    homeserver.do("rename", room, member, "Not for leavers")
    left = homeserver.snapshot(room, newcomer)
    screen.row("sliding_sync_membership_snapshots", left, joined)
    before = homeserver.room(room)
    assert before is not None and left is not None
    screen.fact(
        f"room_name in the room's own row: {before['room_name']}, in the leaver's: {left['room_name']}"
    )

    step(
        "The room is purged by a homeserver version that does not know these tables",
        lambda: homeserver.do("purge_room", room),
    )
    screen.row(f"snapshot of {newcomer}", homeserver.snapshot(room, newcomer), left)


def verify(homeserver: Homeserver) -> bool:
    screen.heading("Both tables against an independent oracle")
    picture = take_picture(homeserver.connection, "public")
    findings = check_picture(picture)
    for finding in findings[:10]:
        screen.fact(str(finding))
    screen.verdict(f"{count_rows(picture)} rows checked, {len(findings)} findings", good=not findings)
    return not findings


def keep(cluster: Cluster) -> None:
    """The server would end with its parent; this one is started again without any."""
    cluster.stop()
    options = f"-p {cluster.port} -c unix_socket_directories={cluster.socket_directory}"
    pg_ctl = str(cluster.bin / "pg_ctl")
    start = [pg_ctl, "-D", str(cluster.data), "-w", "-l", str(cluster.log), "-o", options, "start"]
    processes.run(start, cwd=cluster.root)
    atexit.unregister(cluster.destroy)
    screen.heading("Left running")
    screen.fact(f"psql -h 127.0.0.1 -p {cluster.port} -U {OWNER} {DATABASE}")
    screen.fact(f"{program()} status -h 127.0.0.1 -p {cluster.port} -U {SUPERUSER} {DATABASE}")
    as_server = f"runuser -u {processes.server_account().pw_name} -- " if os.geteuid() == 0 else ""
    stop = f"{as_server}{pg_ctl} -D {cluster.data} stop"
    screen.fact(f"to end it: {stop} && rm -rf {cluster.data} {cluster.root}")
    sys.stdout.flush()
    os._exit(0)  # past the context manager, which would remove everything


if __name__ == "__main__":
    sys.exit(main())
