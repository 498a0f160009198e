"""A connection to the server that can be cut in the middle of an answer."""

from __future__ import annotations

import socket
import threading
from types import TracebackType

_MOST = 65536


class Proxy:
    """Passes everything on, but keeps back what the server answers after a client has said `pattern`, until it is cut."""

    def __init__(self, port: int, pattern: bytes) -> None:
        self._server = ("127.0.0.1", port)
        self._pattern = pattern
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._is_whole = False
        self.held = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Ends all connections. Those that come later keep nothing back."""
        self._is_whole = True
        for one in self._sockets:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()
        self._sockets = []

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            self._sockets += [client, server]
            holds = threading.Event()
            threading.Thread(target=self._pass_on, args=(client, server, holds, True), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(server, client, holds, False), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, holds: threading.Event, is_client: bool) -> None:
        try:
            while data := source.recv(_MOST):
                if is_client and self._pattern in data and not self._is_whole:
                    holds.set()
                    self.held.set()
                if is_client or not holds.is_set():
                    target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
