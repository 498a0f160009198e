"""python -m generator --dsn postgresql:///synapse --rooms 3000: fills a homeserver's tables with rooms."""

from __future__ import annotations

import argparse
import time

import psycopg

from generator.load import generate
from generator.world import Chapter


def main() -> None:
    parser = argparse.ArgumentParser(prog="generator", description="Fills a homeserver's tables with rooms.")
    parser.add_argument(
        "--dsn", default="", help="connection string; PG* environment variables fill the gaps"
    )
    parser.add_argument("--schema", default="public", help="schema of the homeserver's tables")
    parser.add_argument("--rooms", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    began = last = time.monotonic()

    def report(chapter: Chapter) -> None:
        nonlocal last
        now = time.monotonic()
        print(f"{chapter.title:<24} {len(chapter.events):>8} events {now - last:>7.2f} s")
        last = now

    with psycopg.connect(options.dsn, autocommit=True) as connection:
        generate(connection, options.schema, options.rooms, options.seed, report)
        connection.execute("ANALYZE")
    print(f"{options.rooms} rooms in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
