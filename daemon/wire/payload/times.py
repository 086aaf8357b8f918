"""Time stamps of payloads -> epoch seconds."""

from __future__ import annotations

import datetime
import math

from daemon.errors import BadMessage

_PER_SECOND = {None: 1, "s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}

#: Beyond it (the year 5138) a number of seconds is rather one of milliseconds.
LATEST_S = 1e11


def seconds(stamp: object, unit: str | None) -> float:
    """Return a stamp as epoch seconds.

    unit None: a number is seconds, text is ISO 8601; "s", "ms", "us", "ns": a number; "iso": text. ISO 8601 without
    an offset is UTC. Raises BadMessage (bad-time).
    """
    if isinstance(stamp, str) and unit in (None, "iso"):
        return _iso(stamp)
    if isinstance(stamp, bool) or not isinstance(stamp, int | float) or unit == "iso":
        wanted = (
            "ISO 8601 text" if unit == "iso" else "a number of " + (unit or "s") + (" or ISO 8601 text" * (not unit))
        )
        raise BadMessage("bad-time", f"got {_short(stamp)}, expected {wanted}")
    try:
        t = stamp / _PER_SECOND[unit]
    except OverflowError:
        t = math.inf
    return check(t, stamp)


def check(t: float, stamp: object) -> float:
    """Return `t` where it can be a time. Raises BadMessage (bad-time)."""
    if not 0 <= t < LATEST_S:
        raise BadMessage(
            "bad-time", f"got {_short(stamp)}, expected epoch seconds in [0, 1e11); is payload.time_unit right?"
        )
    return float(t)


def _iso(text: str) -> float:
    try:
        when = datetime.datetime.fromisoformat(text.strip())
    except ValueError:
        raise BadMessage("bad-time", f"got {_short(text)}, expected ISO 8601 or a number") from None
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)
    try:
        t = when.timestamp()
    except (OverflowError, ValueError):
        t = -1.0
    return check(t, text)


def _short(value: object) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**30 else "a huge number"
    return text if len(text) <= 60 else text[:57] + "..."
