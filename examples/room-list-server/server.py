#!/usr/bin/env python3
"""Answers the `lists` of MSC4186 from sliding_sync.room_list(), and shows a support person why a list is as it is.

    python server.py --dsn 'dbname=synapse user=list_reader' --tokens tokens.json

An example and a support tool, not a homeserver: it serves no events, no state and no extensions, and knows only the tokens that its
file names. It writes nothing; README.md says which rights its role needs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from aiohttp import web
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

import requests_of_clients as asked

SYNC = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
PAGE = Path(__file__).with_name("page.html")
# A position is given out before its event commits: one that is older by this still finds what came late.
OVERLAP_SECONDS = 15
POLL_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 60
MOST_CLIENTS = 1000
ANYBODY = "*"  # instead of a user in the table of tokens: may look at everybody's list

Row = dict[str, Any]


@dataclass
class Client:
    """One connection of a client, as MSC4186 means it."""

    position: str
    sent: dict[str, Row] = field(default_factory=dict)  # rooms, as the client knows them
    counts: dict[str, list[Any]] = field(default_factory=dict)  # lists, as the client knows them


class Lists:
    """The database, asked with the rights of a role that only reads."""

    def __init__(self, dsn: str, schema: str | None) -> None:
        self._schema = schema
        options = "-c default_transaction_read_only=on -c statement_timeout=30s"
        self.pool = AsyncConnectionPool(
            dsn, min_size=1, max_size=8, open=False, kwargs={"options": options, "autocommit": True, "row_factory": dict_row}
        )
        self._positions: list[tuple[float, int]] = [(time.monotonic(), 0)]

    async def ask(self, function: str, **named: Any) -> list[Row]:
        """Names come from this program only; values go as parameters."""
        named["target_schema"] = self._schema
        casts = {name: "::text[]" for name, value in named.items() if isinstance(value, list)}
        given = ", ".join(f"{name} => %({name})s{casts.get(name, '')}" for name in named)
        async with self.pool.connection() as connection:
            cursor = await connection.execute(f"SELECT * FROM sliding_sync.{function}({given})", named)  # type: ignore[arg-type]
            return await cursor.fetchall()

    async def page(self, user: str, wanted: asked.List, start: int, end: int) -> tuple[int, list[Row]]:
        rows = await self.ask("room_list", user_id=user, **wanted.filters, range_start=start, range_end=end)
        if rows or start == 0:
            return (rows[0]["total"] if rows else 0), rows
        first = await self.ask("room_list", user_id=user, **wanted.filters, range_start=0, range_end=0)
        return (first[0]["total"] if first else 0), []

    def since(self, newest: int) -> int:
        """The newest position that was known a while ago."""
        now = time.monotonic()
        self._positions.append((now, newest))
        while len(self._positions) > 1 and self._positions[1][0] < now - OVERLAP_SECONDS:
            self._positions.pop(0)
        return self._positions[0][1]


@dataclass
class Server:
    lists: Lists
    tokens: dict[str, str]
    clients: dict[tuple[str, str], Client] = field(default_factory=dict)

    def user_of(self, request: web.Request, wanted: str | None = None) -> str:
        header = request.headers.get("Authorization", "")
        token = header.removeprefix("Bearer ") if header.startswith("Bearer ") else ""
        owner = next((user for known, user in self.tokens.items() if secrets.compare_digest(known.encode(), token.encode())), None)
        if owner is None:
            raise asked.Refused(401, "M_UNKNOWN_TOKEN", "No such token")
        if wanted is None and owner == ANYBODY:
            raise asked.Refused(403, "M_FORBIDDEN", "This token is of a person who looks at lists, and of no user")
        if wanted is not None and owner not in (wanted, ANYBODY):
            raise asked.Refused(403, "M_FORBIDDEN", "This token is another user's")
        return wanted if wanted is not None else owner

    # -- MSC4186

    async def sync(self, request: web.Request) -> web.Response:
        user = self.user_of(request)
        body = asked.read_body(await request.text())
        lists = asked.read_lists(body)
        key = (user, str(body.get("conn_id", "")))
        position = request.query.get("pos")
        client = self.clients.get(key)
        if position is None:
            while len(self.clients) >= MOST_CLIENTS:
                self.clients.pop(next(iter(self.clients)))
            client = self.clients[key] = Client("")
        elif client is None or client.position != position:
            raise asked.Refused(400, "M_UNKNOWN_POS", "Unknown position: begin anew, without pos")
        wait = min(asked.read_timeout(request.query.get("timeout")), LONGEST_WAIT_SECONDS) if position is not None else 0
        answer = await self.answer_when_changed(user, lists, client, wait)
        client.position = answer["pos"] = secrets.token_hex(8)
        return web.json_response(answer)

    async def answer_when_changed(self, user: str, lists: dict[str, asked.List], client: Client, wait: float) -> dict[str, Any]:
        deadline = time.monotonic() + wait
        since = None
        while True:
            # A look at what changed is cheap however long the list is; it does not tell of tags and account data.
            if since is None or await self.lists.ask("room_list_changes", user_id=user, since=since):
                answer, newest = await self.answer(user, lists, client)
                since = self.lists.since(newest) if since is None else since
                if answer["rooms"] or answer.pop("has_changed") or time.monotonic() >= deadline:
                    answer.pop("has_changed", None)
                    return answer
            if time.monotonic() >= deadline:
                return {"lists": {}, "rooms": {}, "extensions": {}}
            await asyncio.sleep(POLL_SECONDS)

    async def answer(self, user: str, lists: dict[str, asked.List], client: Client) -> tuple[dict[str, Any], int]:
        told: dict[str, Any] = {}
        rooms: dict[str, Any] = {}
        newest, has_changed = 0, False
        for name, wanted in lists.items():
            operations, known = [], []
            count = 0
            for start, end in wanted.ranges:
                count, rows = await self.lists.page(user, wanted, start, end)
                ids = [row["room_id"] for row in rows]
                operations.append({"op": "SYNC", "range": [start, end], "room_ids": ids})
                known.append((start, end, ids))
                newest = max([newest, *(row["event_stream_ordering"] for row in rows)])
                for row in rows:
                    facts = {column: value for column, value in row.items() if column not in ("place", "total")}
                    if client.sent.get(row["room_id"]) != facts:
                        rooms[row["room_id"]] = asked.room_of(row, row["room_id"] not in client.sent)
                        client.sent[row["room_id"]] = facts
            has_changed = has_changed or client.counts.get(name) != [count, *known]
            client.counts[name] = [count, *known]
            told[name] = {"count": count, "ops": operations}
        return {"lists": told, "rooms": rooms, "extensions": {}, "has_changed": has_changed}, newest

    # -- the page

    async def list_of(self, request: web.Request) -> web.Response:
        user = self.user_of(request, request.query.get("user", ""))
        wanted = asked.read_page_filters(request.query)
        rows = await self.lists.ask("room_list", user_id=user, **wanted)
        newest = max((row["event_stream_ordering"] for row in rows), default=0)
        return web.json_response({"rows": rows, "since": self.lists.since(newest)})

    async def changes_of(self, request: web.Request) -> web.Response:
        user = self.user_of(request, request.query.get("user", ""))
        since = asked.read_number(request.query.get("since"), "since")
        return web.json_response({"rows": await self.lists.ask("room_list_changes", user_id=user, since=since)})

    async def explanation_of(self, request: web.Request) -> web.Response:
        user = self.user_of(request, request.query.get("user", ""))
        room = request.query.get("room") or None
        answer: dict[str, Any] = {"user": await self.lists.ask("explain_user", user_id=user, room_id=room)}
        if room is not None:
            answer["room"] = await self.lists.ask("explain_room", room_id=room)
        return web.json_response(answer)


@web.middleware
async def errors_as_json(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        return await handler(request)
    except asked.Refused as refused:
        return web.json_response({"errcode": refused.errcode, "error": str(refused)}, status=refused.status)
    except (psycopg.errors.InvalidParameterValue, psycopg.DataError) as error:
        return web.json_response({"errcode": "M_INVALID_PARAM", "error": str(error)}, status=400)
    except psycopg.Error as error:
        logging.error("%s (%s) %s", error, error.sqlstate, error.diag.message_hint or "")
        return web.json_response({"errcode": "M_UNKNOWN", "error": f"The database says: {error}"}, status=500)


async def page(_: web.Request) -> web.Response:
    policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:"
    headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
    return web.Response(text=PAGE.read_text(), content_type="text/html", headers=headers)


def application(lists: Lists, tokens: dict[str, str]) -> web.Application:
    server = Server(lists, tokens)
    app = web.Application(middlewares=[errors_as_json], client_max_size=1 << 20)
    app.router.add_post(SYNC, server.sync)
    app.router.add_get("/", page)
    app.router.add_get("/api/list", server.list_of)
    app.router.add_get("/api/changes", server.changes_of)
    app.router.add_get("/api/explanation", server.explanation_of)

    async def with_database(_: web.Application) -> Any:
        await lists.pool.open(wait=True, timeout=30)
        yield
        await lists.pool.close()

    app.cleanup_ctx.append(with_database)
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", default="", help="of the homeserver's database; PG* variables fill the gaps")
    parser.add_argument("--schema", help="of the homeserver's tables, where several are attached")
    parser.add_argument("--tokens", type=Path, required=True, help='{"TOKEN": "@user:server"}; "*" for who may see every list')
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8448)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    tokens = json.loads(options.tokens.read_text())
    web.run_app(application(Lists(options.dsn, options.schema), tokens), host=options.host, port=options.port, print=None)


if __name__ == "__main__":
    main()
