"""Many writers at once: the triggers add no error to what the load meets without them; no row is wrong."""

from __future__ import annotations

import pytest

from harness.cluster import Cluster
from oracle import check, count_rows
from oracle.picture import take_picture
from synthetic.database import OWNER, SCHEMA, connect, create_homeserver
from synthetic.load import Outcome, Rooms, play, prepare

CLIENTS = 8
OWN_KEYS = ("local_current_membership", "current_state_events", "event_forward_extremities", "rooms")


@pytest.fixture(scope="module")
def template(cluster: Cluster) -> str:
    return create_homeserver(cluster, "load", extension=False)


def played(
    cluster: Cluster, template: str, seed: int, transactions: int, *, extension: bool, **behaviour: bool
) -> Outcome:
    """The load on a fresh database; with the extension, its rows are checked."""
    name = cluster.create_database("under load", OWNER, template)
    rooms = Rooms(CLIENTS, shared=6, own=3)
    if extension:
        cluster.execute("CREATE EXTENSION sliding_sync", name)
    with connect(cluster, name) as connection:
        prepare(connection, rooms)
    outcome = play(lambda: connect(cluster, name), rooms, seed=seed, transactions=transactions, **behaviour)
    with connect(cluster, name) as connection:
        findings = check(connection, SCHEMA)
        print(f"{count_rows(take_picture(connection, SCHEMA))} rows checked, {len(findings)} findings")
        if extension:
            assert not findings, "\n".join(map(str, findings[:30]))
        elif not behaviour["writes_tables"]:
            assert findings, "a check that finds nothing where nobody writes finds nothing"
    cluster.drop_database(name)
    return outcome


def compare(cluster: Cluster, template: str, seed: int, transactions: int, **behaviour: bool) -> None:
    without = played(cluster, template, seed, transactions, extension=False, **behaviour)
    with_it = played(cluster, template, seed, transactions, extension=True, **behaviour)
    print(f"without: {without}\nwith:    {with_it}\n         {dict(with_it.effective)}")
    assert without.committed.total() > CLIENTS * transactions * 0.8, "a load that fails proves nothing"
    added = set(with_it.errors) - set(without.errors)
    if behaviour["one_writer_a_room"]:
        assert not with_it.exhausted
    else:
        # Two of them may insert the same key; whether the homeserver's own index gets to tell is chance.
        added -= {f"23505 {table}" for table in OWN_KEYS}
    assert not added, with_it.examples
    # Writers that run into each other give up now and then; we may not make them do so much more often.
    assert with_it.exhausted.total() <= 3 * without.exhausted.total() + 5
    assert with_it.retries.total() <= 2 * without.retries.total() + 50


@pytest.mark.parametrize("writes_tables", [False, True], ids=["older homeserver", "newer homeserver"])
def test_a_homeserver_under_load(cluster: Cluster, template: str, writes_tables: bool) -> None:
    """One writer a room, as in a homeserver, and everything else beside it."""
    compare(cluster, template, 1, 500, writes_tables=writes_tables, one_writer_a_room=True)


@pytest.mark.parametrize("writes_tables", [False, True], ids=["older homeserver", "newer homeserver"])
def test_writers_that_do_not_wait_for_each_other(
    cluster: Cluster, template: str, writes_tables: bool
) -> None:
    compare(cluster, template, 2, 300, writes_tables=writes_tables, one_writer_a_room=False)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10, 14))
@pytest.mark.parametrize("one_writer", [True, False], ids=["one writer a room", "many"])
@pytest.mark.parametrize("writes_tables", [False, True], ids=["older homeserver", "newer homeserver"])
def test_a_long_load(
    cluster: Cluster, template: str, seed: int, writes_tables: bool, one_writer: bool
) -> None:
    compare(cluster, template, seed, 1500, writes_tables=writes_tables, one_writer_a_room=one_writer)
