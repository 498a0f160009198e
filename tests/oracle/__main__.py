"""python -m oracle --dsn postgresql:///synapse: prints what is wrong; exit code 0 no drift, 3 drift."""

from __future__ import annotations

import argparse
import sys

import psycopg

from oracle.check import check_picture, count_rows
from oracle.picture import take_picture

NO_DRIFT, DRIFT = 0, 3


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="oracle", description="Checks the room list tables of a homeserver."
    )
    parser.add_argument(
        "--dsn", default="", help="connection string; PG* environment variables fill the gaps"
    )
    parser.add_argument("--schema", default="public", help="schema of the homeserver's tables")
    options = parser.parse_args()

    with psycopg.connect(options.dsn, autocommit=True) as connection:
        picture = take_picture(connection, options.schema)
    findings = check_picture(picture)
    for finding in findings:
        print(finding)
    print(f"{count_rows(picture)} rows checked, {len(findings)} findings")
    return DRIFT if findings else NO_DRIFT


if __name__ == "__main__":
    sys.exit(main())
