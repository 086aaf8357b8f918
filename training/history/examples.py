"""Normal history in, labelled windows out: normal ones as they are, faulty ones with a typed fault put in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from daemon.core.records import F32, I32
from daemon.demo import faults
from daemon.demo.plant import Family, Plant

NORMAL = "normal"
CLASSES = (NORMAL, *faults.KINDS)

#: Rows of a fault that must be in a window before it is called visible; the sudden ones show at once.
SEEN = {"spike": 1, "level": 4, "drift": 24, "stuck": 10, "noise": 6, "frequency": 12, "amplitude": 12, "dropout": 4}
MAGNITUDE = (6.0, 30.0)  # in local spreads, drawn evenly on a log scale
SIZED = ("spike", "level", "drift", "noise", "dropout")  # the others have no size in units
MAGNITUDE_KNOWN = (1.0, 8.0)  # in standard deviations of a sensor's own history
GAIN_SD, OFFSET_SD, NOISE_MOST = 0.1, 0.15, 0.05  # how far a known sensor may wander and still be normal
LENGTH = (6, 160)  # rows of a fault, drawn evenly on a log scale
AFTER = 16  # rows for which a fault that is over still gives a window its name


@dataclass(frozen=True, slots=True)
class Examples:
    """x: (N, W, C) float32 windows in raw units; y: (N,) int32 index into CLASSES.

    channel: (N,) int32, which one has the fault, -1 in normal windows; empty where nobody knows.
    """

    x: F32
    y: I32
    channel: I32 = field(default_factory=lambda: np.zeros(0, np.int32))

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, slots=True)
class Known:
    """What is usual for the channels of a known asset: mean and sd, (C,) each."""

    mean: F32
    sd: F32

    def wander(self, x: F32, rng: np.random.Generator) -> F32:
        """Return windows as another month might have shown them. x: (N, n, C)."""
        n, rows, channels = x.shape
        gain = rng.normal(1, GAIN_SD, (n, 1, channels))
        offset = rng.normal(0, OFFSET_SD, (n, 1, channels)) * (rng.random((n, 1, 1)) < 0.5)
        noise = rng.uniform(0, NOISE_MOST, (n, 1, channels)) * rng.standard_normal((n, rows, channels))
        moved: F32 = (self.mean + gain * (x - self.mean) + (offset + noise) * self.sd).astype(np.float32)
        return moved


def join(parts: Iterable[Examples]) -> Examples:
    """Return all examples in one, in the order given."""
    known = list(parts)
    return Examples(
        np.concatenate([part.x for part in known]),
        np.concatenate([part.y for part in known]),
        np.concatenate([part.channel for part in known]),
    )


def draw(
    rows: F32,
    window: int,
    normal: int,
    faulty: int,
    rng: np.random.Generator,
    kinds: Sequence[Sequence[str]] | None = None,
    known: Known | None = None,
) -> Examples:
    """Return `normal` windows of these rows, and about `faulty` windows with one fault in one channel.

    rows: (n, C) float32, normal only, n > 2 window. kinds: by channel, the faults it can have; default all. A fault
    starts in the newer three quarters of its window. Draws that turn out invisible are left out, as no network
    could tell them from normal and their label would be a lie.

    known: what is usual for these channels, where the model will know them. Then faults are sized by that, may have
    begun before the window, and every window wanders a little (gain, offset, noise), so that the model does not take
    next month's normal for a fault.
    """
    channels = rows.shape[1]
    usual = _normal(rows, window, normal, rng)
    x = [usual if known is None else known.wander(usual, rng)]
    y = [np.zeros(normal, np.int32)]
    where = [np.full(normal, -1, np.int32)]
    for _ in range(faulty):
        channel = int(rng.integers(channels))
        able = kinds[channel] if kinds else faults.KINDS
        kind = str(able[int(rng.integers(len(able)))])
        one = _faulty(rows, channel, kind, window, rng, known)
        if one is not None:
            x.append(one[None])
            y.append(np.array([CLASSES.index(kind)], np.int32))
            where.append(np.array([channel], np.int32))
    return Examples(np.concatenate(x), np.concatenate(y), np.concatenate(where))


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


def _faulty(
    rows: F32, channel: int, kind: str, window: int, rng: np.random.Generator, known: Known | None
) -> F32 | None:
    """Return one window with a fault of this kind in this channel, or None where the fault cannot be seen."""
    end = int(rng.integers(window, len(rows) - window + 1))
    first = max(0, end - window - faults.BEFORE)
    part = rows[first : end + window]
    oldest = window * 3 // 4 if known is None else window
    seen = int(rng.integers(min(SEEN[kind], window // 2), oldest + 1))
    start = end - first - seen
    low, high = np.log(LENGTH)
    length = int(np.exp(rng.uniform(low, high)))
    if length < SEEN[kind] or seen - length > AFTER:
        length = max(seen - int(rng.integers(AFTER)), 1)
    length = min(length, len(part) - start)
    part = part if known is None else known.wander(part[None], rng)[0]
    signal = part[:, channel]
    unit = faults.spread(signal, start)
    magnitude, visible = float(np.exp(rng.uniform(*np.log(MAGNITUDE)))), 2 * unit
    if known is not None:
        usual = float(known.sd[channel])
        visible = 0.5 * usual
        if kind in SIZED:
            magnitude = float(np.exp(rng.uniform(*np.log(MAGNITUDE_KNOWN)))) * usual / unit
    changed = faults.inject(signal, kind, start, length, magnitude, rng)
    here = slice(end - first - window, end - first)
    apart = np.abs(changed[here] - signal[here])
    if apart.max() < visible:
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
    known = examples.channel[kept] if len(examples.channel) else examples.channel
    return Examples(examples.x[kept], examples.y[kept], known)
