"""Time stamps -> epoch seconds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np

from daemon.core.records import F64
from daemon.errors import BadMessage
from daemon.wire.payload.rows import NUMBERS, told

Unit = Literal["s", "ms", "us", "ns", "iso"] | None

#: Stamps from here on are no seconds: 1e11 s is the year 5138, 1e11 ms is 1973.
LATEST_S = 1e11

_PER_SECOND = {"ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}


def epoch_s(stamps: Sequence[Any], unit: Unit = None) -> F64:
    """Return stamps as epoch seconds, float64; whole nanoseconds become the nearest float64.

    unit None: numbers are seconds and text is ISO 8601. "iso": text only; the others: numbers only. Text without an
    offset is UTC; digits beyond microseconds are dropped.
    Raises BadMessage: bad-time where one is neither or outside [0, 1e11) s; the detail then guesses at the unit.
    """
    if not len(stamps):
        return np.empty(0)
    kinds = set(map(type, stamps))
    if unit != "iso" and kinds <= NUMBERS:
        return _in_range(stamps, unit)
    if unit in (None, "iso") and kinds == {str}:
        return _in_range([iso_s(text) for text in stamps], None)
    if len(stamps) > 1:
        return np.concatenate([epoch_s([stamp], unit) for stamp in stamps])
    expected = {None: "seconds or ISO 8601 text", "iso": "ISO 8601 text"}.get(unit, f"a number in {unit}")
    raise BadMessage("bad-time", f"got {told(stamps[0])}, expected {expected}")


def epoch_s_or_nan(stamps: Sequence[Any], unit: Unit = None) -> F64:
    """Return what `epoch_s` does, and NaN for each stamp that it would refuse."""
    if unit != "iso" and set(map(type, stamps)) <= NUMBERS:
        try:
            t = _seconds(stamps, unit)
        except OverflowError:
            pass
        else:
            return np.where((t >= 0) & (t < LATEST_S), t, np.nan)
    return np.array([_one_or_nan(stamp, unit) for stamp in stamps], np.float64)


def _one_or_nan(stamp: Any, unit: Unit) -> float:
    try:
        if type(stamp) in NUMBERS and unit != "iso":
            t = float(stamp / _PER_SECOND.get(unit or "s", 1))
        elif type(stamp) is str and unit in (None, "iso"):
            t = iso_s(stamp)
        else:
            return np.nan
    except (OverflowError, BadMessage):
        return np.nan
    return t if 0 <= t < LATEST_S else np.nan


def iso_s(text: str) -> float:
    """Return ISO 8601 text, such as 2026-03-01T12:00:00Z, as epoch seconds; without an offset it is UTC.

    Raises BadMessage: bad-time. `20260301` is refused: it may as well be a number in quotes.
    """
    try:
        if text[4:5] != "-":
            raise ValueError
        stamp = datetime.fromisoformat(text)
    except ValueError:
        expected = "ISO 8601 such as 2026-03-01T12:00:00Z"
        raise BadMessage("bad-time", f"got text {text[:40]!r}, expected {expected}") from None
    return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()


def _seconds(stamps: Sequence[float], unit: Unit) -> F64:
    """Return numbers in their unit as seconds. Raises OverflowError."""
    per_second = _PER_SECOND.get(unit or "s", 1)
    # Python divides whole numbers exactly and then rounds; a float64 of nanoseconds would have lost 128 of them.
    return np.array(stamps if per_second == 1 else [stamp / per_second for stamp in stamps], np.float64)


def _in_range(stamps: Sequence[float], unit: Unit) -> F64:
    per_second = _PER_SECOND.get(unit or "s", 1)
    try:
        t = _seconds(stamps, unit)
    except OverflowError:
        t = np.array([np.inf])
    good = (t >= 0) & (t < LATEST_S)
    if not good.all():
        worst = float(t[~good][0])
        raise BadMessage("bad-time", f"got {worst * per_second:g}, which is {worst:g} s{_hint(worst * per_second)}")
    return t


def _hint(stamp: float) -> str:
    for unit, per_second in _PER_SECOND.items():
        if 1e9 <= stamp / per_second < 1e10:
            return f'; set time_unit = "{unit}"'
    return ", expected epoch seconds from 0 to 1e11: is time_unit right?"
