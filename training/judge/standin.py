"""Faults put into normal rows: they stand in for labels where there are none, and try the classes of a head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from daemon.core.records import F32
from daemon.demo import faults
from training.history import examples
from training.history.data import History
from training.history.examples import Examples

MOST_FAULTS = 48  # over all series
APART = 6  # windows from one fault to the next: an alarm has ended by then, as a new normal is taken after four
TRIES = 8  # kinds that are tried where a signal shows none, such as a stuck reading of a sensor that rests
SEED = 20_000_101  # one no fit has used
MOST_WINDOWS = 2000  # of single windows with a fault, and as many without


@dataclass(frozen=True, slots=True)
class Faulty:
    """A series with faults in its judged rows, labelled. kinds: of its events, in their order."""

    series: History
    kinds: tuple[str, ...]


def into(series: Sequence[History], window: int) -> list[Faulty]:
    """Return each series with typed faults put into its rows >= train_end; no kinds where it has too few rows.

    One fault in one channel at a time, a window long, of every kind in turn, 6 to 30 times the signal's own spread;
    a series without room for one is returned as it is.
    """
    rng = np.random.default_rng(SEED)
    room = [max(0, (len(one.t) - one.train_end - window) // (APART * window)) for one in series]
    share = min(1.0, MOST_FAULTS / max(1, sum(room)))
    found = []
    for one, most in zip(series, room, strict=True):
        count = max(min(most, 1), round(most * share))
        step = (len(one.t) - one.train_end - window) // max(count, 1)
        starts = [one.train_end + window + k * step for k in range(count)]
        found.append(_faulty(one, [at for at in starts if at + window <= len(one.t)], window, rng))
    return found


def _faulty(one: History, starts: Sequence[int], window: int, rng: np.random.Generator) -> Faulty:
    values, anomaly, kinds = one.values.copy(), np.zeros(len(one.t), np.bool_), []
    for start in starts:
        for _ in range(TRIES):
            channel = int(rng.integers(values.shape[1]))
            kind = str(rng.choice(faults.KINDS))
            magnitude = float(np.exp(rng.uniform(*np.log(examples.MAGNITUDE))))
            signal = values[:, channel]
            changed = faults.inject(signal, kind, start, window, magnitude, rng)
            if np.abs(changed - signal).max() >= 2 * faults.spread(signal, start):
                values[:, channel] = changed
                anomaly[start : start + window] = True
                kinds.append(kind)
                break
    return Faulty(replace(one, values=values, anomaly=anomaly), tuple(kinds))


def windows(series: Sequence[History], window: int, joint: bool) -> Examples | None:
    """Return single windows of the judged normal rows, with and without a fault; None where no stretch is long enough.

    joint: windows of all channels, else of one channel each.
    """
    rng = np.random.default_rng([SEED, 1])
    stretches = [rows for one in series for rows in _normal(one, 2 * window + 1)]
    if not joint:
        stretches = [rows[:, k : k + 1] for rows in stretches for k in range(rows.shape[1])]
    total = sum(map(len, stretches))
    most = min(MOST_WINDOWS, 2 * total)
    parts = []
    for rows in stretches:
        count = max(1, round(most * len(rows) / total))
        parts.append(examples.draw(rows, window, count, count, rng))
    return examples.join(parts) if parts else None


def _normal(one: History, least: int) -> list[F32]:
    """Return the stretches of judged rows without a label that have `least` rows."""
    calm = np.concatenate([[False], ~one.anomaly[one.train_end :], [False]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(calm)) + one.train_end
    return [one.values[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= least]
