"""Series -> windows with labels, as the daemon would score them, split so that no sample is on two sides.

Rows are laid on the daemon's own time grid first (daemon.core.grid), so what is dropped, filled and restarted in
training is what is dropped, filled and restarted live.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from daemon.core.grid import Grid
from daemon.core.records import F32, F64, I8, I64, Bool, Samples
from daemon.errors import ConfigError, DataError
from training.history.reading import Series

POLICIES = ("any", "last", "majority", "class")
FILLED_INTERVALS = 5  # the daemon's default for gap.limit_s, in intervals


@dataclass(frozen=True, slots=True)
class Laid:
    """The rows a ring would get.

    t (N,); values (N, C), finite; label (N,) int8 or None. row (N,): its row in the series, of a filled one the row
    after the gap. real (N,): measured, not filled. restart (N,): a window starts anew here. dropped: rows by reason,
    as the daemon counts them; those with a value missing are "not-finite".
    """

    t: F64
    values: F32
    label: I8 | None
    row: I64
    real: Bool
    restart: Bool
    dropped: dict[str, int]


def lay(
    series: Series, window: int, *, limit_s: float | None = None, fill: str = "hold", end: int | None = None
) -> Laid:
    """Return rows [0, end) of a series on the daemon's grid for this window; end: default series.train_end.

    limit_s: the longest gap that is filled, default FILLED_INTERVALS intervals; fill: hold | linear.
    """
    stop = series.train_end if end is None else end
    known = np.flatnonzero(np.isfinite(series.values[:stop]).all(axis=1))
    limit = FILLED_INTERVALS * series.interval_s if limit_s is None else limit_s
    interval = series.interval_s or None
    grid = Grid(1, series.values.shape[1], window, interval_s=interval, fill=fill, limit_s=limit)
    grid.reset(np.zeros(1, np.int32))
    # `arrived` passes through the grid with its sample, so it can carry which row that was.
    samples = Samples(
        np.zeros(len(known), np.int32), series.t[known], series.values[known], known.astype(np.float64)
    )  # fmt: skip
    placed = grid.place(samples)
    row = placed.arrived.astype(np.int64)
    label = None if series.label is None else series.label[row]
    dropped = dict(grid.dropped)
    if len(known) < stop:
        dropped["not-finite"] = stop - len(known)
    return Laid(placed.t, placed.values, label, row, placed.real, placed.restart, dropped)


def starts(laid: Laid, window: int, stride: int = 1, rows: tuple[int, int] | None = None) -> I64:
    """Return the first rows of the windows within `rows` of laid ones, oldest first.

    As live: counted from each restart, the first once a window is full, then every `stride` rows; one that would end
    in a filled row ends in the measured row after it.
    """
    low, high = rows or (0, len(laid.row))
    restart, real = laid.restart[low:high], np.flatnonzero(laid.real[low:high])
    at = np.arange(len(restart))
    since = (at - np.maximum.accumulate(np.where(restart, at, 0)) - (window - 1))[real]
    due = np.maximum(since // stride, -1)  # how many windows have become due since the restart, less one
    before = np.concatenate([[-1], due[:-1]]) if len(due) else due
    before[restart[real]] = -1
    return real[due > before] + (low - window + 1)


def take(laid: Laid, first: I64, window: int) -> F32:
    """Return windows (N, W, C) float32 that begin in these rows."""
    if len(laid.row) < window:
        return np.zeros((0, window, laid.values.shape[1]), np.float32)
    view = np.lib.stride_tricks.sliding_window_view(laid.values, window, axis=0)
    return np.ascontiguousarray(view[first].swapaxes(1, 2))


def labels(label: I8, first: I64, window: int, policy: str = "any") -> I8:
    """Return one class index per window; label: (N,) int8 per laid row, 0 is normal.

    any: the newest class in the window that is not normal; last: the class of the newest row; majority: the most
    frequent one, of equals the later; class: the one all rows share, -1 where they differ (leave those out).
    Raises ConfigError for another policy.
    """
    if policy not in POLICIES:
        raise ConfigError.one("policy", repr(policy), " | ".join(POLICIES))
    if not len(first):
        return np.zeros(0, np.int8)
    last = first + window - 1
    if policy == "last":
        return label[last]
    at = np.arange(len(label))
    if policy == "any":
        newest = np.maximum.accumulate(np.where(label != 0, at, -1))[last]
        return np.where(newest >= first, label[newest], 0).astype(np.int8)
    if policy == "class":
        changed = np.maximum.accumulate(np.where(np.diff(label, prepend=label[0]) != 0, at, -1))[last]
        return np.where(changed > first, -1, label[last]).astype(np.int8)
    best, most = np.zeros(len(first), np.int8), np.full(len(first), -1, np.int64)
    for index in np.unique(label):  # a class at a time, so memory does not grow with their number
        total = np.concatenate([[0], np.cumsum(label == index)])
        count = total[last + 1] - total[first]
        best = np.where(count >= most, index, best)
        most = np.maximum(most, count)
    return best


def by_time(rows: int, shares: Sequence[float], window: int) -> list[tuple[int, int]]:
    """Return row ranges [low, high), oldest first, of these shares, one window apart from each other.

    Windows taken within them (`starts`) share no sample, and none continues where another part's ends. A range may be
    too short for a window. Raises ConfigError for shares that are no shares.
    """
    _proper(shares)
    free = max(rows - window * (len(shares) - 1), 0)
    cuts = np.rint(np.concatenate([[0.0], np.cumsum(shares)]) / sum(shares) * free).astype(int)
    return [(int(low) + k * window, int(high) + k * window) for k, (low, high) in enumerate(pairwise(cuts))]


def by_unit(units: Sequence[str], rows: Sequence[int], shares: Sequence[float], seed: int = 0) -> list[list[int]]:
    """Return, for each share, which series belong to it: all series of a unit (a file, a machine) stay together.

    units: the unit of each series; rows: how long each is. Units are dealt in random order, each to the part that is
    furthest below its share of rows. Raises DataError where there are fewer units than shares.
    """
    _proper(shares)
    known = sorted(set(units))
    if len(known) < len(shares):
        raise DataError(
            "split", "units", f"{len(known)} ({', '.join(known)[:80]})", f"one for each of {len(shares)} parts"
        )
    part_of: dict[str, int] = {}
    weight = {unit: sum(n for name, n in zip(units, rows, strict=True) if name == unit) for unit in known}
    have = np.zeros(len(shares))
    wanted = np.array(shares) / sum(shares)
    for k, unit in enumerate(np.random.default_rng(seed).permutation(known).tolist()):
        empty = np.flatnonzero(have == 0)
        must = len(empty) and len(known) - k <= len(empty)  # so that no part stays empty
        part = int(empty[0]) if must else int(np.argmax(wanted - have / max(sum(weight.values()), 1)))
        part_of[unit] = part
        have[part] += max(weight[unit], 1)
    return [[k for k, unit in enumerate(units) if part_of[unit] == part] for part in range(len(shares))]


def units(names: Sequence[str], pattern: str | None = None) -> list[str]:
    """Return the unit of each series: its whole name, or what the pattern's first group finds in it."""
    if pattern is None:
        return list(names)
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ConfigError.one("unit", repr(pattern), f"a regular expression ({error})") from None
    found = [compiled.search(name) for name in names]
    for name, one in zip(names, found, strict=True):
        if one is None or not compiled.groups:
            raise ConfigError.one("unit", repr(pattern), f"a pattern with a (group) that finds the unit in {name}")
    return [str(one.group(1)) for one in found if one is not None]


def _proper(shares: Sequence[float]) -> None:
    if not shares or not all(0 < share < np.inf for share in shares):
        raise ConfigError.one("shares", repr(tuple(shares)), "numbers above 0, such as 0.7, 0.15, 0.15")
