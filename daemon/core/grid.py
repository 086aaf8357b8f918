"""Samples -> rows on each sensor's own time grid: late ones dropped, short gaps filled, long gaps restart.

The grid is anchored to the sensor's previous sample, not to an origin, so jitter does not add up. Everything here
depends on the sensors' own times alone: what was live can be replayed years later.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daemon.core.records import F32, F64, I32, I64, Bool, Samples
from daemon.core.stretches import take

#: So many late samples in a row, each later than the one before, are a clock that was set back, not stragglers:
#: the sensor's watermark follows it. Our choice; smaller loses order on a redelivered backlog, larger silences longer.
LATE_RUN = 32

#: How many differences of stamps the measured interval is the median of.
MEASURED = 256


@dataclass(frozen=True, slots=True)
class Placed:
    """Rows ready for the rings, sorted by sensor and in time order for each.

    sensor (N,) int32, t and arrived (N,) float64, values (N, C) float32. real (N,): a measured sample, not a filled
    one. restart (N,): the window starts anew with this row.
    """

    sensor: I32
    t: F64
    arrived: F64
    values: F32
    real: Bool
    restart: Bool

    def __len__(self) -> int:
        return len(self.sensor)

    def part(self, rows: Bool) -> Placed:
        """Return the rows that the mask selects."""
        return Placed(*(getattr(self, name)[rows] for name in self.__slots__))


class Grid:
    """The time grids of all sensors of a stream.

    `interval_s` None means that order is all that is known: nothing is missing, nothing is filled. `timed` False
    means that the stamps are arrivals: every sample counts, in the order it came.
    """

    def __init__(
        self,
        capacity: int,
        channels: int,
        window: int,
        *,
        timed: bool = True,
        interval_s: float | None = None,
        fill: str = "hold",
        limit_s: float = 0.0,
    ) -> None:
        self.timed, self.interval_s, self.fill = timed, interval_s, fill
        # A window made up of filled rows alone says nothing: a gap of a whole window is always a restart.
        self._most = min(int(limit_s / interval_s + 1e-6), window - 1) if interval_s else 0
        self.watermark: F64 = np.zeros(capacity)  # set by reset(); zeros are committed lazily by the system
        self._late_run: I32 = np.zeros(capacity, np.int32)
        self._late_t: F64 = np.zeros(capacity)
        self._held: F32 = np.zeros((capacity, channels), np.float32)
        self._differences: list[float] = []
        self.measured_s: float | None = None
        self.dropped: dict[str, int] = {}
        self.filled = 0
        self.watermark_resets = 0

    def reset(self, slots: I32) -> None:
        """Make these slots' sensors new: the next sample is their first."""
        self.watermark[slots] = np.nan
        self._late_run[slots] = 0

    def place(self, samples: Samples, latest: float = np.inf) -> Placed:
        """Return the rows these samples become; counts in `dropped`, `filled` and `watermark_resets` go up.

        latest: stamps beyond it are dropped as "future".
        """
        sensor, t, arrived, values, first = _sorted(samples)
        before, reset = self._before(sensor, t, first), np.zeros(len(sensor), np.bool_)
        if self.timed:
            if len(t) and t.max() <= latest and self._all_forward(t - before, first):
                self._late_run[sensor[first]] = 0
            else:
                keep, reset = self._sift(sensor, t, latest)
                sensor, t, arrived, values, reset = sensor[keep], t[keep], arrived[keep], values[keep], reset[keep]
                first = _first(sensor)
                before = self._before(sensor, t, first)
                before[reset] = np.nan
        if self.measured_s is None:
            self._measure(t - before)
        placed = self._bridge(sensor, t, arrived, values, before, first, reset)
        last = _last(first, len(sensor))
        self.watermark[sensor[last]] = t[last]
        if self._most:
            self._held[sensor[last]] = values[last]
        return placed

    def _before(self, sensor: I32, t: F64, first: I64) -> F64:
        """Return the stamp before each row of a sensor, NaN where there is none."""
        before = np.empty_like(t)
        before[1:] = t[:-1]
        before[first] = self.watermark[sensor[first]]
        return before

    def _all_forward(self, dt: F64, first: I64) -> bool:
        """Return whether every row is a step on, as `_steps` counts, or its sensor's first."""
        forward = dt / self.interval_s > 0.5 if self.interval_s else dt > 0
        return int(np.count_nonzero(forward)) + int(np.count_nonzero(np.isnan(dt[first]))) == len(dt)

    def _sift(self, sensor: I32, t: F64, latest: float) -> tuple[Bool, Bool]:
        """Return which rows are kept, and which of them set their sensor's watermark back.

        Only sensors with a row out of order are looked at one by one.
        """
        keep, reset = t <= latest, np.zeros(len(t), np.bool_)
        self._count("future", len(t) - int(np.count_nonzero(keep)))
        rows = np.flatnonzero(keep)
        out_of_order = ~(self._steps(t[rows] - self._before(sensor[rows], t[rows], _first(sensor[rows]))) >= 1)
        odd = np.isin(sensor[rows], sensor[rows[out_of_order]])
        self._late_run[sensor[rows[~odd]]] = 0
        rows = rows[odd]
        for part in np.split(rows, _first(sensor[rows])[1:]) if len(rows) else []:
            dropped, believed = self._sift_one(int(sensor[part[0]]), t[part].tolist())
            keep[part[dropped]] = False
            reset[part[believed]] = True
        return keep, reset

    def _sift_one(self, slot: int, stamps: list[float]) -> tuple[list[int], list[int]]:
        """Return which of a sensor's stamps are dropped, and at which its watermark is set back."""
        watermark, late_run, late_t = (float(array[slot]) for array in (self.watermark, self._late_run, self._late_t))
        interval_s, dropped, believed = self.interval_s, [], []
        reasons = {"duplicate": 0, "off-grid": 0, "late": 0}
        for place, stamp in enumerate(stamps):
            dt = stamp - watermark
            if dt != dt or (dt / interval_s > 0.5 if interval_s else dt > 0):  # rounds to a step, as in _steps
                watermark, late_run = stamp, 0
                continue
            if dt >= 0:
                reasons["duplicate" if dt == 0 else "off-grid"] += 1
                dropped.append(place)
                continue
            late_run = late_run + 1 if late_run and stamp > late_t else 1
            late_t = stamp
            if late_run < LATE_RUN:
                reasons["late"] += 1
                dropped.append(place)
            else:
                watermark, late_run = stamp, 0
                believed.append(place)
        for reason, n in reasons.items():
            self._count(reason, n)
        self.watermark_resets += len(believed)
        self._late_run[slot], self._late_t[slot] = late_run, late_t
        return dropped, believed

    def _steps(self, dt: F64) -> F64:
        """Return how many grid steps lie in `dt` seconds; a sensor's first sample (NaN) is one step on."""
        steps = np.rint(dt / self.interval_s) if self.interval_s else np.where(dt > 0, 1.0, np.minimum(dt, 0.0))
        return np.where(np.isnan(dt), 1.0, steps)

    def _bridge(self, sensor: I32, t: F64, arrived: F64, values: F32, before: F64, first: I64, reset: Bool) -> Placed:
        """Insert the filled rows and mark the restarts."""
        n = len(sensor)
        if not (self.timed and self.interval_s) or not np.count_nonzero((t - before) / self.interval_s >= 1.5):
            return Placed(sensor, t, arrived, values, np.ones(n, np.bool_), reset)
        missing = (self._steps(t - before) - 1).astype(np.int64)
        restart = reset | (missing > self._most)
        fills = np.where(restart, 0, missing)
        if not fills.any():
            return Placed(sensor, t, arrived, values, np.ones(n, bool), restart)
        self.filled += int(fills.sum())
        copies = fills + 1
        ends = np.cumsum(copies) - 1
        real = np.zeros(ends[-1] + 1, bool)
        real[ends] = True
        whole = np.zeros(len(real), bool)
        whole[ends] = restart
        held = np.empty_like(values)
        held[1:] = values[:-1]
        held[first] = self._held[sensor[first]]
        source = np.repeat(np.arange(n), copies)
        # share of the way from the sample before to this one; 1 for the sample itself
        share = (np.arange(len(real)) - (ends - fills)[source] + 1) / copies[source]
        t_rows = np.where(real, t[source], before[source] + share * (t - before)[source])
        if self.fill == "linear":
            way = share[:, None].astype(np.float32)
            rows = held[source] * (1 - way) + values[source] * way
        else:
            rows = held[source]
        rows[ends] = values
        return Placed(sensor[source], t_rows, arrived[source], rows, real, whole)

    def _measure(self, differences: F64) -> None:
        self._differences += differences[differences > 0][:MEASURED].tolist()
        if len(self._differences) >= MEASURED:
            self.measured_s = float(np.median(self._differences[:MEASURED]))
            self._differences = []

    def _count(self, reason: str, n: int) -> None:
        if n:
            self.dropped[reason] = self.dropped.get(reason, 0) + n


def _sorted(samples: Samples) -> tuple[I32, F64, F64, F32, I64]:
    """Return sensor, t, arrived and values sorted by sensor, arrival order for each, and where each sensor starts."""
    sensor, t, arrived, values = samples.sensor, samples.t, samples.arrived, samples.values
    first = _first(sensor)
    if np.count_nonzero(sensor[first[1:]] < sensor[first[:-1]]):
        length = np.diff(first, append=len(sensor))  # messages of many rows are moved whole
        order = np.argsort(sensor[first], kind="stable")
        sensor, first, length = np.repeat(sensor[first[order]], length[order]), first[order], length[order]
        t, arrived, values = (take(rows, first, length) for rows in (t, arrived, values))
        first = _first(sensor)
    return sensor, t, arrived, values, first


def _first(sensor: I32) -> I64:
    """Return where each run of equal values starts."""
    opens = np.ones(len(sensor), np.bool_)
    np.not_equal(sensor[1:], sensor[:-1], out=opens[1:])
    return np.flatnonzero(opens)


def _last(first: I64, n: int) -> I64:
    """Return where each sensor's run ends, given where they start, in a sorted array of n."""
    last = np.empty_like(first)
    if len(first):
        np.subtract(first[1:], 1, out=last[:-1])
        last[-1] = n - 1
    return last
