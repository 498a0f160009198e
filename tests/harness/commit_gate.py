"""Stands between a homeserver and PostgreSQL, and lets somebody look before the homeserver hears of a commit."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress

_HEADER = struct.Struct("!cI")
_IDLE = _HEADER.pack(b"Z", 5) + b"I"  # ReadyForQuery, outside a transaction


class CommitGate:
    """Passes everything on; calls `look` whenever a session has ended a transaction, one call at a time.

    Connections must not ask for encryption: `ARGUMENTS` of libpq.
    """

    ARGUMENTS = {"sslmode": "disable", "gssencmode": "disable"}

    def __init__(self, server_port: int, look: Callable[[], object]) -> None:
        self._server = ("127.0.0.1", server_port)
        self._look = look
        self._one_at_a_time = threading.Lock()
        self._failure: BaseException | None = None
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> CommitGate:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listener, *self._sockets):
            _close(each)
        if self._failure is not None:
            raise self._failure

    @staticmethod
    def _start(work: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=work, args=arguments, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets += [client, server]
                self._start(self._pass_on, client, server)
                self._start(self._pass_on_and_look, server, client)

    @staticmethod
    def _pass_on(client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                server.sendall(data)
        _close(server)

    def _pass_on_and_look(self, server: socket.socket, client: socket.socket) -> None:
        data = bytearray()
        with suppress(OSError):
            while more := server.recv(1 << 16):
                data += more
                end = 0
                while len(data) >= end + _HEADER.size:
                    kind, length = _HEADER.unpack_from(data, end)
                    if len(data) < end + 1 + length:
                        break
                    message, end = data[end : end + 1 + length], end + 1 + length
                    if message == _IDLE:
                        self._call_look()
                client.sendall(data[:end])
                del data[:end]
        _close(client)

    def _call_look(self) -> None:
        with self._one_at_a_time:
            if self._failure is None:
                try:
                    self._look()
                except BaseException as error:  # told to whoever leaves the `with`
                    self._failure = error


def _close(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
