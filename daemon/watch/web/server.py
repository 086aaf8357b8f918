"""A small HTTP server for one WSGI application: waitress with low limits, on threads of its own."""

from __future__ import annotations

import contextlib
import logging
import socket
from threading import Thread
from typing import Any

from waitress.server import create_server
from waitress.task import ThreadedTaskDispatcher
from waitress.trigger import trigger

from daemon.errors import ConfigError

#: What one client, or all of them together, may take. A status page and a scraper need a fraction of it.
LIMITS: dict[str, Any] = {
    "connection_limit": 40,
    "channel_timeout": 15,
    "cleanup_interval": 5,
    "max_request_header_size": 8192,
    "max_request_body_size": 1024,
    "inbuf_overflow": 65536,
    "outbuf_overflow": 4 * 2**20,
    "backlog": 64,
}
_THREADS = 2


class Server:
    """Serves `app` on address (host, port); port 0 lets the system choose, `port` says which.

    Binding happens here, so a wrong address is known before anything else starts: ConfigError names http.listen.
    """

    def __init__(self, app: Any, address: tuple[str, int]) -> None:
        self._sockets = _bind(*address)
        self.port: int = self._sockets[0].getsockname()[1]
        self._map: dict[int, Any] = {}
        self._tasks = ThreadedTaskDispatcher()
        self._tasks.set_thread_count(_THREADS)
        logging.getLogger("waitress.queue").setLevel(
            logging.ERROR
        )  # a line per request is a client's way to fill a disk
        self._server = create_server(
            app,
            map=self._map,
            _dispatcher=self._tasks,
            sockets=self._sockets,
            ident=None,
            asyncore_use_poll=True,  # select() ends at file descriptor 1023
            clear_untrusted_proxy_headers=True,
            **LIMITS,
        )
        self._thread = Thread(target=self._server.run, name="http", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Stop answering and close every socket; answers under way get `timeout_s`."""
        self._tasks.shutdown(timeout=timeout_s)
        if self._thread.is_alive():
            # Closing from the loop's own thread is the only way without a race; the loop ends with its last socket.
            waker = next(item for item in list(self._map.values()) if isinstance(item, trigger))
            waker.pull_trigger(self._close_all)
            self._thread.join(timeout_s)
        else:
            self._close_all()

    def _close_all(self) -> None:
        for item in list(self._map.values()):
            with contextlib.suppress(OSError):
                item.close()
        self._map.clear()


def _bind(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets for every address of `host`, all on one port."""
    bound: list[socket.socket] = []
    try:
        if not 0 <= port <= 65535:
            raise OSError(f"port {port} is above 65535")
        for family, kind, protocol, _, where in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            one = socket.socket(family, kind, protocol)
            bound.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            chosen = bound[0].getsockname()[1] if len(bound) > 1 else port
            one.bind((where[0], chosen, *where[2:]))
    except OSError as error:
        for one in bound:
            one.close()
        problem = f"{host}:{port} ({error.strerror or error})"
        raise ConfigError.one("http.listen", problem, "an address of this machine and a free port") from None
    return bound
