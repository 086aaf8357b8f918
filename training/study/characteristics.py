"""What the signals themselves say of a window's size: rhythm, memory, usual shape, and whether they stay so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from daemon.core.records import F32, F64
from daemon.errors import DataError
from training.history import spectrum
from training.history.data import History
from training.history.spectrum import Period
from training.study import selectors

MOST_ROWS = 20_000  # the newest rows of the longest series
PARTS = 8  # that are held against each other
MOVES = 0.5  # of the overall spread between parts' means: a signal that does not keep its level
LEAST_ROWS = 64


@dataclass(frozen=True, slots=True)
class Sensor:
    """One channel of the fitting rows; lengths in rows, None where there is no such thing.

    periods: dominant ones, overtones merged, with their share of the power. fft, acf, suss: the window that a selector
    of that name takes. memory: how far apart two rows are that know nothing of each other, the first lag with a
    correlation below 1/e. level_moves: spread of the means of PARTS parts, as a share of the whole spread;
    spread_moves: the largest of their spreads over the smallest (None: one of them is 0).
    """

    name: str
    mean: float
    spread: float
    constant: bool
    periods: tuple[Period, ...]
    fft: int | None
    acf: int | None
    suss: int | None
    memory: int | None
    level_moves: float
    spread_moves: float | None

    @property
    def stationary(self) -> bool:
        """Return whether parts of the signal have the same level and a like spread."""
        return self.level_moves < MOVES and self.spread_moves is not None and self.spread_moves < 4


@dataclass(frozen=True, slots=True)
class Characteristics:
    """What is known of an asset's sensors from rows that a model may be fitted on.

    rows: of the longest series. The group's figures are medians over the sensors that are not constant.
    """

    interval_s: float
    series: int
    rows: int
    sensors: tuple[Sensor, ...]

    @property
    def moving(self) -> tuple[Sensor, ...]:
        """Return the sensors that are not constant."""
        return tuple(one for one in self.sensors if not one.constant)

    @property
    def period(self) -> float | None:
        """Return the group's period in rows: the median of the sensors' strongest, None where most have none."""
        found = [one.periods[0].rows for one in self.moving if one.periods]
        return float(np.median(found)) if 2 * len(found) > len(self.moving) else None

    def group(self, name: str) -> int | None:
        """Return the median over sensors of "fft", "acf", "suss" or "memory", None where no sensor has it."""
        found = [value for value in (getattr(one, name) for one in self.moving) if value is not None]
        return round(float(np.median(found))) if found else None

    def told(self) -> dict[str, Any]:
        """Return all of it as what JSON can hold."""
        names = ("fft", "acf", "suss", "memory")
        whole = {name: self.group(name) for name in names} | {"period": self.period}
        sensors = [asdict(one) | {"stationary": one.stationary} for one in self.sensors]
        return {
            "interval_s": self.interval_s or None,
            "series": self.series,
            "rows": self.rows,
            "group": whole | {"stationary": sum(one.stationary for one in self.moving)},
            "sensors": sensors,
        }


def of(series: Sequence[History]) -> Characteristics:
    """Return the characteristics of series of the same sensors. Raises DataError where they say nothing at all.

    Nothing at all: no series has LEAST_ROWS rows for fitting, or every sensor is constant.
    """
    longest = max(series, key=lambda one: len(one.fit_rows()))
    rows = longest.fit_rows()[-MOST_ROWS:]
    if len(rows) < LEAST_ROWS:
        raise DataError(
            longest.name, "rows for fitting", len(rows),
            f"at least {LEAST_ROWS} normal rows in a series; a longer export, or a later --train-end",
        )  # fmt: skip
    found = Characteristics(
        longest.interval_s,
        len(series),
        len(longest.fit_rows()),
        tuple(_sensor(name, rows[:, k]) for k, name in enumerate(longest.columns)),
    )
    if not found.moving:
        names = ", ".join(longest.columns)[:100]
        raise DataError(
            longest.name, f"sensors {names}", "the same value in every row for fitting",
            "a sensor that moves: no window size is better than another on a constant one",
        )  # fmt: skip
    return found


def _sensor(name: str, signal: F32) -> Sensor:
    x = np.asarray(signal, np.float64)
    mean, spread = float(x.mean()), float(x.std())
    if np.ptp(x) <= 1e-9 * max(float(np.abs(x).max()), 1e-30):
        return Sensor(name, mean, 0.0, True, (), None, None, None, None, 0.0, None)
    parts = [part for part in np.array_split(x, PARTS) if len(part)]
    spreads = [float(part.std()) for part in parts]
    return Sensor(
        name,
        mean,
        spread,
        False,
        tuple(spectrum.periods(signal)),
        selectors.fft(x),
        selectors.acf(x),
        selectors.suss(x),
        _memory(x - mean),
        float(np.std([part.mean() for part in parts])) / spread,
        max(spreads) / min(spreads) if min(spreads) > 1e-9 * spread else None,
    )


def _memory(x: F64) -> int | None:
    """Return the first lag at which the autocorrelation is below 1/e, None where it never is."""
    below = np.flatnonzero(selectors.autocorrelation(x)[: len(x) // 2] < np.exp(-1))
    return int(below[0]) if len(below) else None
