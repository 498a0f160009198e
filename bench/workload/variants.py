"""Who keeps the room list tables: a database each, copies of one population."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.cluster import Cluster
from harness.synapse import ROLE, Synapse
from population.load import Report, Shape, populate

SYNAPSE = "1.163.2"
TEMPLATE = "population"
_PLPGSQL = Path(__file__).parents[1] / "alternatives/plpgsql.sql"


@dataclass(frozen=True)
class Variant:
    name: str
    title: str
    extension: bool = False
    plpgsql: bool = False
    upkeep: bool = False  # the homeserver writes the tables itself
    reads: bool = False  # with what it reads before, in other transactions
    cold: bool = False  # and with an empty cache

    @property
    def database(self) -> str:
        return f"bench_{self.name}"


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("none", "no upkeep"),
        Variant("client", "homeserver, its transaction only", upkeep=True),
        Variant("reads", "homeserver, with its reads before", upkeep=True, reads=True),
        Variant("cold", "homeserver, state not cached", upkeep=True, reads=True, cold=True),
        Variant("triggers", "sliding_sync, only writer", extension=True),
        Variant("both", "sliding_sync and homeserver", extension=True, upkeep=True),
        Variant("plpgsql", "PL/pgSQL triggers", plpgsql=True),
    )
}


def make_template(cluster: Cluster, shape: Shape, report: Report) -> None:
    """A homeserver's own tables, made by a homeserver itself, filled; the room list tables as they should be."""
    cluster.create_role(ROLE)
    cluster.create_database(TEMPLATE, ROLE)
    with Synapse(SYNAPSE, cluster, TEMPLATE) as synapse:
        synapse.wait_for_background_updates()
    with cluster.connect(TEMPLATE) as connection:
        populate(connection, "public", shape, derived=True, report=report)


def make_database(cluster: Cluster, variant: Variant) -> None:
    cluster.create_database(variant.database, ROLE, TEMPLATE)
    if variant.extension:
        cluster.execute("CREATE EXTENSION sliding_sync", variant.database)
    if variant.plpgsql:
        with cluster.connect(variant.database, ROLE) as connection:
            connection.execute(_PLPGSQL.read_text())  # type: ignore[arg-type]
