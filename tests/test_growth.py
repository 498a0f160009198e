"""What the triggers add to a homeserver's transaction grows no worse than its size: counted in rows read, and in the backend's
processor time. `bench/growth-live` prints the figures for bigger ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.cluster import SUPERUSER, Cluster
from synthetic.database import connect, create_homeserver
from synthetic.growth import SCENARIOS, Scenario, cost

# Four times the size: linear is 4, n log n a little more, quadratic 16.
TIMES = 4
MOST_ROWS, MOST_TIME = 5.0, 8.0
FLOOR = 20e6  # nanoseconds: what is less than that cannot be told from noise
LONG = 200e6  # and what is more than that need not be measured twice


# A quarter of what the bench begins with; what compares keys in memory has to be bigger to be seen.
SMALL = {scenario.name: scenario.start // 4 for scenario in SCENARIOS} | {
    "rooms with a message each, no state": 8000,
    "rooms deleted with ten members each": 500,
}
PLAYS = [
    *(pytest.param(scenario, SMALL[scenario.name], id=scenario.name) for scenario in SCENARIOS),
    *(pytest.param(scenario, 4 * scenario.start, id=f"{scenario.name}, long", marks=pytest.mark.long) for scenario in SCENARIOS),
]


@pytest.fixture(scope="module")
def template(cluster: Cluster) -> str:
    return create_homeserver(cluster, "growth_template", owner=SUPERUSER)


@pytest.fixture
def database(cluster: Cluster, template: str) -> Iterator[str]:
    yield "growth"
    cluster.drop_database("growth")


def added(cluster: Cluster, template: str, database: str, scenario: Scenario, n: int) -> tuple[int, int]:
    """Nanoseconds and rows beyond those of the same transaction without the triggers."""
    cluster.drop_database(database)
    cluster.create_database(database, template=template)
    with connect(cluster, database, SUPERUSER) as connection:
        scenario.populate(connection, n)
        without, with_it = [], []
        while len(with_it) < 2 and (not with_it or with_it[0].nanoseconds < LONG):  # the first one makes plans
            without.append(cost(connection, scenario, n, enabled=False))
            with_it.append(cost(connection, scenario, n, enabled=True))
        return (
            min(each.nanoseconds for each in with_it) - min(each.nanoseconds for each in without),
            with_it[-1].rows_read - without[-1].rows_read,
        )


@pytest.mark.parametrize(("scenario", "n"), PLAYS)
def test_no_more_than_its_size(cluster: Cluster, template: str, database: str, scenario: Scenario, n: int) -> None:
    small_time, small_rows = added(cluster, template, database, scenario, n)
    big_time, big_rows = added(cluster, template, database, scenario, TIMES * n)
    print(f"{scenario.name}: {n}: {small_time / 1e6:.1f} ms, {small_rows} rows; {TIMES * n}: {big_time / 1e6:.1f} ms, {big_rows} rows")
    assert big_rows <= MOST_ROWS * max(small_rows, n)
    assert big_time <= MOST_TIME * max(small_time, FLOOR / TIMES)
