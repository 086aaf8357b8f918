"""Topics <-> sensors: which streams a topic feeds, under which name, and where our own output goes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from daemon.config import Stream
from daemon.errors import BadMessage, ConfigError, Problem

#: Longest sensor name, UTF-8 bytes: names are kept in memory, in every output topic and as metric labels.
MAX_NAME_BYTES = 256

_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff+#]")
_FIELD = re.compile(r"\{(topic|[1-9][0-9]?)\}")


class Router:
    """Topic -> ((stream's place, sensor name), ...). Pure and not cached: whoever asks keeps the answers, bounded."""

    def __init__(self, streams: Sequence[Stream], prefix: str) -> None:
        problems = [problem for stream in streams for problem in _unreachable(stream)]
        if problems:
            raise ConfigError(problems)
        self._own = prefix + "/"
        self._streams = [
            (stream.name, [filter_levels(topic) for topic in stream.topics], _parts(stream.sensor))
            for stream in streams
        ]

    def route(self, topic: str) -> tuple[tuple[int, str], ...]:
        """Return every stream that the topic feeds, by its place in the configuration, and the sensor's name there.

        Raises BadMessage: own-output, no-stream, or sensor-name where no matching stream can name the sensor. A
        stream that cannot, beside another that can, is passed over.
        """
        if topic.startswith(self._own) or topic == self._own[:-1]:
            raise BadMessage("own-output", f"topic {topic!r} is below our own publish.prefix {self._own[:-1]!r}")
        levels = topic.split("/")
        routes: list[tuple[int, str]] = []
        refused: BadMessage | None = None
        for place, (stream, filters, parts) in enumerate(self._streams):
            if not any(matches(pattern, levels) for pattern in filters):
                continue
            try:
                routes.append((place, _name(topic, levels, parts, stream)))
            except BadMessage as error:
                refused = error
        if routes:
            return tuple(routes)
        raise refused or BadMessage("no-stream", f"topic {topic!r} matches no stream's topics")


def filter_levels(topic_filter: str) -> list[str]:
    """Return the levels a filter compares; `$share/group/` says who shares it, not what matches."""
    levels = topic_filter.split("/")
    return levels[2:] if levels[0] == "$share" and len(levels) > 2 else levels


def matches(pattern: Sequence[str], levels: Sequence[str]) -> bool:
    """Return whether a topic's levels match a filter's; MQTT 4.7: # also matches its parent, $ only itself."""
    if levels[0].startswith("$") and pattern[0] in ("+", "#"):
        return False
    for place, want in enumerate(pattern):
        if want == "#":
            return True
        if place == len(levels) or want not in ("+", levels[place]):
            return False
    return len(pattern) == len(levels)


def score_topic(prefix: str, stream: str, sensor: str) -> str:
    """Where a sensor's scores go."""
    return f"{prefix}/score/{stream}/{sensor}"


def alarm_topic(prefix: str, stream: str, sensor: str) -> str:
    """Where a sensor's alarm stands, retained."""
    return f"{prefix}/alarm/{stream}/{sensor}"


def state_topic(prefix: str, stream: str, sensor: str) -> str:
    """Where a sensor's state stands, retained."""
    return f"{prefix}/state/{stream}/{sensor}"


def status_topic(prefix: str, client_id: str) -> str:
    """Where the daemon's own status stands, retained; what no topic may hold becomes _."""
    return f"{prefix}/status/{_FORBIDDEN.sub('_', client_id)}"


def _parts(template: str) -> list[str | int]:
    """Split a template into literal text and topic levels counted from 1; 0 is the whole topic."""
    pieces = _FIELD.split(template)
    return [
        piece if place % 2 == 0 else 0 if piece == "topic" else int(piece)
        for place, piece in enumerate(pieces)
        if place % 2 or piece
    ]


def _name(topic: str, levels: Sequence[str], parts: Sequence[str | int], stream: str) -> str:
    words = []
    for part in parts:
        if isinstance(part, str):
            words.append(part)
        elif part > len(levels):
            raise BadMessage(
                "sensor-name",
                f"topic {topic[:256]!r} has {len(levels)} levels, stream.{stream}.sensor names level {part}",
            )
        else:
            words.append(topic if part == 0 else levels[part - 1])
    name = "".join(words)
    if not name or _FORBIDDEN.search(name) or len(name.encode()) > MAX_NAME_BYTES:
        raise BadMessage(
            "sensor-name",
            f"stream.{stream}.sensor makes {name[:80]!r} of the topic: expected 1 to {MAX_NAME_BYTES} bytes "
            "without control characters, + or #",
        )
    return name


def _unreachable(stream: Stream) -> list[Problem]:
    """Return what can never work: a template that names a level which none of a filter's topics has."""
    deepest = max([part for part in _parts(stream.sensor) if isinstance(part, int)], default=0)
    return [
        Problem(
            "", f"stream.{stream.name}.sensor", repr(stream.sensor), f"levels that {topic!r} has: 1 to {len(levels)}"
        )
        for topic in stream.topics
        if (levels := filter_levels(topic))[-1] != "#" and len(levels) < deepest
    ]
