"""Statements of the extension that fail on purpose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg


@contextmanager
def injected(connection: psycopg.Connection[Any], fault: str) -> Iterator[None]:
    """In this session, as long as the block lasts; docs/testing.md tells what a fault may be."""
    connection.execute("SELECT set_config('sliding_sync.inject_fault', %s, false)", [fault])
    yield
    connection.execute("SET sliding_sync.inject_fault = ''")
