"""Normal history in, labelled windows out: normal ones as they are, faulty ones with a typed fault put in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from daemon.core.records import F32, I32
from daemon.demo import faults
from daemon.demo.plant import Family, Plant

NORMAL = "normal"
CLASSES = (NORMAL, *faults.KINDS)

#: Rows of a fault that must be in a window before it is called visible; the sudden ones show at once.
SEEN = {"spike": 1, "level": 4, "drift": 24, "stuck": 10, "noise": 6, "frequency": 12, "amplitude": 12, "dropout": 4}
MAGNITUDE = (6.0, 30.0)  # in local spreads, drawn evenly on a log scale
LENGTH = (6, 160)  # rows of a fault, drawn evenly on a log scale
AFTER = 16  # rows for which a fault that is over still gives a window its name


@dataclass(frozen=True, slots=True)
class Examples:
    """x: (N, W, C) float32 windows in raw units; y: (N,) int32 index into CLASSES."""

    x: F32
    y: I32

    def __len__(self) -> int:
        return len(self.y)


def join(parts: Iterable[Examples]) -> Examples:
    """Return all examples in one, in the order given."""
    known = list(parts)
    return Examples(np.concatenate([part.x for part in known]), np.concatenate([part.y for part in known]))


def draw(
    rows: F32,
    window: int,
    normal: int,
    faulty: int,
    rng: np.random.Generator,
    kinds: Sequence[Sequence[str]] | None = None,
) -> Examples:
    """Return `normal` windows of these rows, and about `faulty` windows with one fault in one channel.

    rows: (n, C) float32, normal only, n > 2 window. kinds: by channel, the faults it can have; default all. A fault
    starts in the newer three quarters of its window. Draws that turn out invisible are left out, as no network
    could tell them from normal and their label would be a lie.
    """
    channels = rows.shape[1]
    x = [_normal(rows, window, normal, rng)] if normal else []
    y = [np.zeros(normal, np.int32)]
    for _ in range(faulty):
        channel = int(rng.integers(channels))
        able = kinds[channel] if kinds else faults.KINDS
        kind = str(able[int(rng.integers(len(able)))])
        one = _faulty(rows, channel, kind, window, rng)
        if one is not None:
            x.append(one[None])
            y.append(np.array([CLASSES.index(kind)], np.int32))
    return Examples(np.concatenate(x) if x else np.zeros((0, window, channels), np.float32), np.concatenate(y))


def _normal(rows: F32, window: int, count: int, rng: np.random.Generator) -> F32:
    """Return windows as they are; of every second draw of three the one that moves most: changes of load are rare."""
    starts = rng.integers(0, len(rows) - window + 1, (count, 3))
    cut = rows[starts[..., None] + np.arange(window)].astype(np.float64)  # (count, 3, W, C)
    quarter = window // 4
    moved = np.abs(cut[:, :, -quarter:].mean(axis=2) - cut[:, :, :quarter].mean(axis=2))
    rough = np.abs(np.diff(cut, axis=2)).mean(axis=2) + 1e-9 * np.abs(cut).max(axis=2) + 1e-30
    best = (moved / rough).max(axis=2).argmax(axis=1)
    best[::2] = 0
    chosen: F32 = cut[np.arange(count), best].astype(np.float32)
    return chosen


def _faulty(rows: F32, channel: int, kind: str, window: int, rng: np.random.Generator) -> F32 | None:
    """Return one window with a fault of this kind in this channel, or None where the fault cannot be seen."""
    end = int(rng.integers(window, len(rows) - window + 1))
    first = max(0, end - window - faults.BEFORE)
    part = rows[first : end + window]
    seen = int(rng.integers(min(SEEN[kind], window // 2), window * 3 // 4 + 1))
    start = end - first - seen
    low, high = np.log(LENGTH)
    length = int(np.exp(rng.uniform(low, high)))
    if length < SEEN[kind] or seen - length > AFTER:
        length = max(seen - int(rng.integers(AFTER)), 1)
    length = min(length, len(part) - start)
    magnitude = float(np.exp(rng.uniform(*np.log(MAGNITUDE))))
    signal = part[:, channel]
    changed = faults.inject(signal, kind, start, length, magnitude, rng)
    here = slice(end - first - window, end - first)
    apart = np.abs(changed[here] - signal[here])
    if apart.max() < 2 * faults.spread(signal, start):
        return None
    x = part[here].copy()
    x[:, channel] = changed[here]
    return x


def simulated(
    plants: int,
    seed: int,
    window: int,
    normal: int,
    faulty: int,
    family: Family = "train",
    sensors: int = 26,
    rows: int = 1500,
) -> Examples:
    """Return windows of single sensors of `plants` simulated plants; `normal` and `faulty` are per sensor.

    Each plant also has a sensor that never moves, so that a constant signal is normal and can have faults.
    """
    parts = []
    for k in range(plants):
        rng = np.random.default_rng([seed, 3, k])
        plant = Plant(sensors, seed=int(rng.integers(2**31)), family=family)
        values = plant.take(rows)
        for column, quantity in enumerate(plant.quantities):
            kinds = faults.VISIBLE[quantity]
            share = faulty * len(kinds) // 4  # so that a kind few quantities have is not too rare
            parts.append(draw(values[:, column : column + 1], window, normal, share, rng, [kinds]))
        still = np.full((rows, 1), rng.choice([0.0, 1.0, *rng.normal(0, 1e3, 2)]), np.float32)
        parts.append(draw(still, window, normal, faulty, rng, [faults.VISIBLE["position"]]))
    return join(parts)


def only(examples: Examples, classes: Sequence[int]) -> Examples:
    """Return the examples of these classes."""
    kept = np.isin(examples.y, classes)
    return Examples(examples.x[kept], examples.y[kept])
