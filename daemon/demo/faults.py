"""Typed faults, put onto a signal, and the schedule that says what was put where: the truth an alarm is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from daemon.core.records import F32, F64

#: All types, in the order a model lists them behind "normal".
KINDS = ("spike", "level", "drift", "stuck", "noise", "frequency", "amplitude", "dropout")

BEFORE = 96  # rows before a fault that say what the signal's own spread is

#: What a show plays. Left out: a changed speed (13 % were caught on plants of family demo) and a wider swing (17 %), as
#: 64 samples hold too few turns of a slow machine; and a slow drift, which looks like another load.
SHOWN = ("spike", "level", "stuck", "noise", "dropout")

_SMOOTH = ("spike", "level", "noise", "dropout")
#: Which faults a window of 64 samples can honestly show, by quantity. A stuck reading needs a signal that moves, a
#: changed frequency needs one that swings; a drift over more than a window looks like a load change.
VISIBLE: dict[str, tuple[str, ...]] = {
    "vibration": ("spike", "level", "stuck", "noise", "frequency", "amplitude", "dropout"),
    "pressure": (*_SMOOTH, "stuck"),
    "flow": (*_SMOOTH, "stuck"),
    "current": (*_SMOOTH, "stuck"),
    "temperature": _SMOOTH,
    "level": _SMOOTH,
    "position": _SMOOTH,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a schedule. sensor: column; rows [start, end) are faulty; magnitude in local spreads."""

    sensor: int
    kind: str
    start: int
    end: int
    magnitude: float


def spread(x: F32 | F64, start: int) -> float:
    """Return the signal's own spread before row `start`: the standard deviation about a straight line.

    x: (n,). Looks at up to BEFORE rows before `start`, at the first rows of `x` where there are fewer than 16. Never
    0: at least a millionth of the level, so that a constant signal can have faults too.
    """
    rows: F64 = np.asarray(x[max(0, start - BEFORE) : start] if start >= 16 else x[:BEFORE], np.float64)
    t = np.arange(len(rows), dtype=np.float64) - (len(rows) - 1) / 2
    rest: F64 = rows - rows.mean()
    slope = float(t @ rest / (t @ t)) if len(rows) > 1 else 0.0
    rest = rest - slope * t
    return max(float(rest.std()), 1e-6 * float(np.abs(rows).max(initial=0.0)), 1e-30)


def inject(x: F32, kind: str, start: int, length: int, magnitude: float, rng: np.random.Generator) -> F32:
    """Return a copy of the signal with one fault in rows [start, start + length).

    x: (n,) float32. magnitude: in units of `spread`; for frequency and amplitude the factor by which the signal
    swings faster or wider is 1 + magnitude / 8; a stuck signal has none. Raises ValueError
    on an unknown kind or rows outside the signal.
    """
    if not 0 <= start < start + length <= len(x):
        raise ValueError(f"fault rows: got [{start}, {start + length}), expected them inside [0, {len(x)})")
    y = np.asarray(x, np.float64).copy()
    here = slice(start, start + length)
    size = magnitude * spread(x, start)
    sign = rng.choice([-1.0, 1.0])
    if kind == "spike":
        for k in range(start, start + length, 40):
            at = min(k + int(rng.integers(0, 20)), start + length - 1)
            y[at : at + int(rng.integers(1, 3))] += sign * size
        y[start + length :] = x[start + length :]
    elif kind == "level":
        y[here] += sign * size
    elif kind == "drift":
        y[here] += sign * size * np.linspace(0, 1, length)
    elif kind == "stuck":
        y[here] = y[start]
    elif kind == "noise":
        y[here] += size * rng.standard_normal(length)
    elif kind == "frequency":
        # read the signal faster; where it ends, read it backwards
        read = start + np.arange(length) * (1 + magnitude / 8)
        last = max(len(x) - 1, 1)
        y[here] = np.interp(last - np.abs(read % (2 * last) - last), np.arange(len(x)), y)
    elif kind == "amplitude":
        middle = y[max(0, start - BEFORE) : start].mean() if start >= 16 else y[here].mean()
        y[here] = middle + (y[here] - middle) * (1 + magnitude / 8)
    elif kind == "dropout":
        # a bad contact: the reading falls to a rail for some samples, comes back, falls again
        rail = y[start] - size
        k = start
        while k < start + length:
            off = int(rng.integers(2, 9))
            y[k : min(k + off, start + length)] = rail
            k += off + int(rng.integers(3, 13))
    else:
        raise ValueError(f"fault kind: got {kind!r}, expected one of {', '.join(KINDS)}")
    return y.astype(np.float32)


def plan(
    quantities: Sequence[str],
    rows: tuple[int, int],
    seed: int,
    faults: int = 8,
    length: tuple[int, int] = (75, 150),
    magnitude: tuple[float, float] = (10.0, 16.0),
    kinds: Sequence[str] = SHOWN,
) -> list[Fault]:
    """Draw a schedule: at most `faults` faults, each on a sensor of its own, in time order, inside rows [a, b).

    quantities: of each sensor, as `Plant.quantities`; only faults that its VISIBLE names are drawn. Starts are
    spread evenly over the rows, so that a watcher sees one after the other. length in rows, magnitude in spreads.
    """
    rng = np.random.default_rng([seed, 7])
    first, last = rows[0], rows[1] - length[1]
    able = [k for k, quantity in enumerate(quantities) if set(VISIBLE[quantity]) & set(kinds)]
    chosen = rng.permutation(able)[:faults]
    if last < first:
        raise ValueError(f"rows: got {rows}, expected room for a fault of {length[1]} rows")
    starts = first + (last - first) * (np.arange(len(chosen)) + rng.uniform(0, 0.8, len(chosen))) / max(len(chosen), 1)
    schedule = []
    for sensor, start in zip(chosen.tolist(), starts.astype(int).tolist(), strict=True):
        kind = str(rng.choice([kind for kind in VISIBLE[quantities[sensor]] if kind in kinds]))
        rows_on = int(rng.integers(length[0], length[1] + 1))
        schedule.append(Fault(sensor, kind, start, start + rows_on, float(rng.uniform(*magnitude))))
    return schedule


def apply(values: F32, schedule: Sequence[Fault], seed: int) -> F32:
    """Return a copy of the plant's rows with every fault of the schedule in it. values: (n, sensors) float32."""
    out = values.copy()
    for k, fault in enumerate(schedule):
        rng = np.random.default_rng([seed, 11, k])
        rows = fault.end - fault.start
        out[:, fault.sensor] = inject(out[:, fault.sensor], fault.kind, fault.start, rows, fault.magnitude, rng)
    return out
