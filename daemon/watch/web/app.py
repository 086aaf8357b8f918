"""What the HTTP side answers, as a WSGI function: metrics, health, status, sensors and one page. It only reads.

Every answer is made from `Views`, callables that the service gives; nothing here knows the service. Names of sensors
come from topics, so whoever publishes chooses them: they leave as JSON only, and the page shows them as text nodes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, is_dataclass
from functools import partial
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs

from daemon.watch.catalogue import SENSOR_STATES

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]

#: No answer is longer than this many alarms or sensors, whatever is asked for.
MOST_ROWS = 1000
ROWS = 100

_HEADERS = [
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
]


@dataclass(frozen=True, slots=True)
class Views:
    """Where the answers come from; each is called in the HTTP thread and must only read.

    exposition: Accept header -> (content type, body). live, ready: -> (ok, reasons). degraded: -> reasons.
    snapshot: -> the rest of the status: version, broker, models, streams, alarms; page.js shows what it names.
    sensors: (stream or None, state or None, limit) -> rows of stream, sensor, state, reason, have, need, score
        and timestamp.
    """

    exposition: Callable[[str], tuple[str, bytes]]
    live: Callable[[], tuple[bool, list[str]]]
    ready: Callable[[], tuple[bool, list[str]]]
    degraded: Callable[[], list[str]]
    snapshot: Callable[[], dict[str, Any]]
    sensors: Callable[[str | None, str | None, int], list[dict[str, Any]]]


class App:
    """The WSGI application."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self._routes: dict[str, Callable[[Environ], tuple[str, str, bytes]]] = {
            "/metrics": self._metrics,
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/api/status": self._status,
            "/api/sensors": self._sensors,
        }
        room = files("daemon.watch.web")
        for path, name, content_type in (
            ("/", "page.html", "text/html; charset=utf-8"),
            ("/page.js", "page.js", "text/javascript; charset=utf-8"),
            ("/page.css", "page.css", "text/css; charset=utf-8"),
        ):
            answer = ("200 OK", content_type, room.joinpath(name).read_bytes())
            self._routes[path] = partial(_static, answer)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request; HEAD is GET without the body."""
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO") or "/"
        extra: list[tuple[str, str]] = []
        if path not in self._routes:
            known = ", ".join(sorted(self._routes))
            status, content_type, body = _json("404 Not Found", {"error": f"no such page; there are {known}"})
        elif method not in ("GET", "HEAD"):
            extra = [("Allow", "GET, HEAD")]
            status, content_type, body = _json("405 Method Not Allowed", {"error": "only GET and HEAD are answered"})
        else:
            status, content_type, body = self._routes[path](environ)
        start_response(status, [("Content-Type", content_type), ("Content-Length", str(len(body))), *extra, *_HEADERS])
        return [] if method == "HEAD" else [body]

    def _metrics(self, environ: Environ) -> tuple[str, str, bytes]:
        content_type, body = self._views.exposition(environ.get("HTTP_ACCEPT", ""))
        return "200 OK", content_type, body

    def _healthz(self, _environ: Environ) -> tuple[str, str, bytes]:
        live, reasons = self._views.live()
        return _json(_ok(live), {"live": live, "reasons": reasons, "degraded": self._views.degraded()})

    def _readyz(self, _environ: Environ) -> tuple[str, str, bytes]:
        ready, reasons = self._views.ready()
        snapshot = self._views.snapshot()
        answer = {"ready": ready, "reasons": reasons, "degraded": self._views.degraded()}
        return _json(_ok(ready), answer | {key: snapshot.get(key) for key in ("models", "broker")})

    def _status(self, _environ: Environ) -> tuple[str, str, bytes]:
        (live, wrong), (ready, missing) = self._views.live(), self._views.ready()
        status = dict(self._views.snapshot())
        alarms = list(status.get("alarms", []))
        status.update(live=live, ready=ready, reasons=list(dict.fromkeys([*wrong, *missing])))
        status.update(degraded=self._views.degraded(), alarms=alarms[:ROWS], alarms_active=len(alarms))
        return _json("200 OK", status)

    def _sensors(self, environ: Environ) -> tuple[str, str, bytes]:
        try:
            query = parse_qs(environ.get("QUERY_STRING", ""), max_num_fields=8, errors="strict")
        except ValueError as error:
            return _bad(f"query: {error}")
        stream, state, limit = (query.get(key, [None])[-1] for key in ("stream", "state", "limit"))
        unknown = sorted(set(query) - {"stream", "state", "limit"})
        if unknown:
            return _bad(f"got {', '.join(unknown)}, expected stream, state or limit")
        if state is not None and state not in SENSOR_STATES:
            return _json(
                "400 Bad Request", {"error": f"state: got {state!r}, expected one of {', '.join(SENSOR_STATES)}"}
            )
        if limit is not None and not (limit.isascii() and limit.isdecimal() and 1 <= len(limit) <= 6 and int(limit)):
            return _bad(f"limit: got {limit!r}, expected 1 to {MOST_ROWS}")
        most = min(int(limit), MOST_ROWS) if limit else ROWS
        rows = self._views.sensors(stream, state, most + 1)
        return _json("200 OK", {"sensors": rows[:most], "more": len(rows) > most})


def _static(answer: tuple[str, str, bytes], _environ: Environ) -> tuple[str, str, bytes]:
    return answer


def _ok(yes: bool) -> str:
    return "200 OK" if yes else "503 Service Unavailable"


def _bad(error: str) -> tuple[str, str, bytes]:
    return _json("400 Bad Request", {"error": error})


def _json(status: str, content: dict[str, Any]) -> tuple[str, str, bytes]:
    return status, "application/json", (json.dumps(_plain(content), allow_nan=False) + "\n").encode()


def _plain(value: Any) -> Any:
    """Return `value` in JSON's own types: records are objects, NumPy's are numbers and lists, infinite is null."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
