"""Slow, obvious twins of training/history/windows.py: one window, one row at a time, straight from the words."""

from __future__ import annotations

from collections.abc import Sequence

from tests.naive import grid


def laid(
    t: Sequence[float], values: Sequence[list[float]], window: int, stride: int, interval_s: float, limit_s: float
) -> list[list[list[float]]]:
    """The windows a daemon's sensor would have scored, from the twin of its grid; rows with None are never sent."""
    sensor = grid.Sensor(window, stride, interval_s, limit_s)
    for stamp, row in zip(t, values, strict=True):
        if None not in row:
            sensor.take(stamp, row)
    return [rows for _, rows in sensor.windows]


def label(classes: Sequence[int], policy: str) -> int:
    """The label of one window from its rows' classes, oldest first; 0 is normal, -1 is none."""
    if policy == "last":
        return classes[-1]
    if policy == "any":
        for one in reversed(classes):
            if one != 0:
                return one
        return 0
    if policy == "majority":
        best = 0
        for one in sorted(set(classes)):
            if best not in classes or classes.count(one) >= classes.count(best):
                best = one
        return best
    return classes[0] if len(set(classes)) == 1 else -1
