"""Reads a dashboard into Grafana's own types, and prints what they have no place for. Runs in the environment `grafana`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard


def lost(given: Any, kept: Any, path: str = "") -> Iterator[str]:
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            if key in kept:
                yield from lost(value, kept[key], f"{path}/{key}")
            elif not path.startswith("/templating") or key != "definition":  # what the editor shows of a query
                yield f"{path}/{key}"
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for i, (one, other) in enumerate(zip(given, kept)):
            yield from lost(one, other, f"{path}/{i}")
    elif given != kept:
        yield f"{path}: {given!r} became {kept!r}"


register_default_plugins()
with open(sys.argv[1]) as file:
    given = json.load(file)
dashboard = Dashboard.from_json(given)
for problem in lost(given, json.loads(JSONEncoder().encode(dashboard))):
    print(problem)
for panel in dashboard.panels or []:
    # of an unknown type it knows nothing, and keeps all
    if isinstance(panel.options, dict) or any(isinstance(target, dict) for target in panel.targets):
        print(f"no such type: {panel.type_val}")
