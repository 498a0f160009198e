"""python -m population --dsn postgresql:///synapse --scale 0.1: fills the empty tables of a homeserver."""

from __future__ import annotations

import argparse
import time

import psycopg

from population.load import Shape, populate


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="population", description="Fills the empty tables of a homeserver with rooms and their past."
    )
    parser.add_argument(
        "--dsn", default="", help="connection string; PG* environment variables fill the gaps"
    )
    parser.add_argument("--schema", default="public", help="schema of the homeserver's tables")
    parser.add_argument(
        "--scale",
        type=float,
        default=0.1,
        help="1 is 20,000 rooms, 202,000 local memberships, 1.76 million events; default: %(default)s",
    )
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same rooms")
    parser.add_argument("--room-version", default="10", help="2 where a homeserver shall read the events")
    parser.add_argument(
        "--derived", action="store_true", help="also fill the room list tables, as they should be"
    )
    options = parser.parse_args()

    began = last = time.monotonic()

    def report(step: str, rows: int) -> None:
        nonlocal last
        now = time.monotonic()
        print(f"{step:<34} {rows:>10} rows {now - last:>8.2f} s", flush=True)
        last = now

    shape = Shape(options.scale, options.seed, options.room_version)
    with psycopg.connect(options.dsn, autocommit=True) as connection:
        populate(connection, options.schema, shape, options.derived, report)
    print(f"all in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
