"""How good are scores and alarms? Definitions once, in words, for every table of the project.

VUS-PR (Paparrizos et al. 2022, in the "opt" form of the TSB-AD benchmark): the area under the precision-recall curve,
averaged over label buffers of 0 .. `buffer` rows that forgive alarms a little early or late. Rank only: no threshold.

Events are runs of labelled rows, [start, end]. An alarm is an onset; onsets closer than W rows to the one before are
one; it is true if it lies in [start, end + W] of an event. An alarm already on when an event starts neither hits nor
counts as true. The obvious, slow twin of all this is tests/naive/metrics.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from daemon.core.records import F32, F64, I64, Bool

THRESHOLDS = 250
LARGEST_BUFFER = 100
DEFAULT_BUFFER = 125  # TSB-AD's answer where the autocorrelation has no usable peak
RANDOM_SEEDS = 10


def period(values: F32 | F64) -> int:
    """Return the strongest period of a signal, (n,), by its autocorrelation: TSB-AD's find_length_rank, rank 1.

    The highest local maximum at lags 3 to 400 of the first 20,000 rows; 125 where there is none, or where it lies
    beyond lag 303.
    """
    x = np.asarray(values[:20_000], np.float64)
    x = x - x.mean()
    power = float(x @ x)
    if len(x) < 8 or power <= 0:
        return DEFAULT_BUFFER
    size = 1 << (2 * len(x) - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(x, size)) ** 2
    known = np.fft.irfft(spectrum, size)[: min(401, len(x))][3:] / power
    inner = np.flatnonzero((known[1:-1] > known[:-2]) & (known[1:-1] > known[2:])) + 1
    if not len(inner):
        return DEFAULT_BUFFER
    best = int(inner[np.argmax(known[inner])])
    return DEFAULT_BUFFER if best < 3 or best > 300 else best + 3


def buffer_of(fit_rows: F32 | F64) -> int:
    """Return the label buffer for a series: the period of its fitting rows, (n,) or (n, C), at most 100."""
    first = fit_rows if fit_rows.ndim == 1 else fit_rows[:, 0]
    return min(period(first), LARGEST_BUFFER)


def events(anomaly: Bool) -> NDArray[np.int64]:
    """Return [start, end] of each run of labelled rows, end inclusive, (events, 2)."""
    edge = np.diff(np.concatenate([[False], anomaly, [False]]).astype(np.int8))
    return np.stack([np.flatnonzero(edge == 1), np.flatnonzero(edge == -1) - 1], axis=1)


def vus_pr(score: ArrayLike, anomaly: Bool, buffer: int) -> float | None:
    """Return the volume under the precision-recall surface in [0, 1], None where nothing is labelled.

    score: (n,) higher is more anomalous, finite; anomaly: (n,); buffer: the widest, in rows.
    """
    value = np.asarray(score, np.float64)
    known = events(anomaly)
    if not len(known):
        return None
    n, labelled = len(value), int(anomaly.sum())
    cuts = np.sort(value)[::-1][np.linspace(0, n - 1, THRESHOLDS).astype(int)]
    # the first (highest) threshold at which each row is predicted; every row is at the last one, the minimum
    first = np.searchsorted(-cuts, -value, side="left")
    called = np.cumsum(np.bincount(first, minlength=THRESHOLDS))
    inside = np.zeros(n, np.bool_)
    for start, end in _merged(known, buffer, n):
        inside[start : end + 1] = True
    areas = [_area(width, known, anomaly, inside, first, called, labelled) for width in range(buffer + 1)]
    return float(np.mean(areas))


def _area(
    width: int,
    known: NDArray[np.int64],
    anomaly: Bool,
    inside: Bool,
    first: NDArray[np.intp],
    called: I64,
    labelled: int,
) -> float:
    """Return the area under precision over recall with labels that fade out over width // 2 rows."""
    soft = _soften(known, anomaly, width)
    spans = _merged(known, width, len(anomaly))
    hit = np.cumsum(np.bincount(first[inside], soft[inside], THRESHOLDS))
    faded = inside & ~anomaly
    reached = np.cumsum(np.bincount(first[faded], soft[faded], THRESHOLDS))
    earliest = [int(first[start : end + 1].min()) for start, end in spans]
    exist = np.cumsum(np.bincount(earliest, minlength=THRESHOLDS)) / len(spans)
    expected = (labelled + labelled + reached) / 2
    recall = np.minimum(hit / expected, 1.0) * exist
    return float(np.diff(recall, prepend=0.0) @ (hit / called))


def _soften(known: NDArray[np.int64], anomaly: Bool, width: int) -> F64:
    soft = anomaly.astype(np.float64)
    n, reach = len(soft), width // 2
    for start, end in known.tolist():
        after = np.arange(end + 1, min(end + reach + 1, n))
        soft[after] += np.sqrt(1 - (after - end) / width)
        before = np.arange(max(start - reach, 0), start)
        soft[before] += np.sqrt(1 - (start - before) / width)
    return np.minimum(soft, 1.0)


def _merged(known: NDArray[np.int64], width: int, n: int) -> list[tuple[int, int]]:
    """Return the events with their buffers on both sides; those whose buffers touch are one."""
    reach = width // 2
    spans: list[tuple[int, int]] = []
    for start, end in known.tolist():
        if spans and spans[-1][1] >= start - reach:
            spans[-1] = (spans[-1][0], end + reach)
        else:
            spans.append((max(start - reach, 0), end + reach))
    return [(start, min(end, n - 1)) for start, end in spans]


def random_floor(anomaly: Bool, buffer: int) -> float | None:
    """Return the VUS-PR of a score that knows nothing: the mean over RANDOM_SEEDS uniform ones."""
    found = [vus_pr(np.random.default_rng(seed).random(len(anomaly)), anomaly, buffer) for seed in range(RANDOM_SEEDS)]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if known else None


@dataclass(frozen=True, slots=True)
class Alarms:
    """What alarms were worth on one series, or on many together (see `total`). Counts, and delays in rows."""

    events: int = 0
    hit: int = 0
    true: int = 0
    false: int = 0
    normal_rows: int = 0  # rows outside every [start, end + W]
    normal_in_alarm: int = 0
    delays: tuple[int, ...] = ()  # of each event that was hit
    tail_rows: int = 0  # the W rows after an event, where it is no longer labelled
    tail_in_alarm: int = 0

    @property
    def recall(self) -> float | None:
        """Share of events with a true alarm."""
        return self.hit / self.events if self.events else None

    @property
    def precision(self) -> float | None:
        """Share of alarms that were true."""
        return self.true / (self.true + self.false) if self.true + self.false else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of the two; 0 where there are events but no true alarm."""
        if not self.events:
            return None
        precision = self.precision or 0.0
        recall = self.hit / self.events
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    @property
    def false_per_10k(self) -> float | None:
        """False alarms per 10,000 normal rows."""
        return 1e4 * self.false / self.normal_rows if self.normal_rows else None

    @property
    def normal_time_in_alarm(self) -> float | None:
        """Share of normal rows on which an alarm was on."""
        return self.normal_in_alarm / self.normal_rows if self.normal_rows else None

    @property
    def normal_time_in_alarm_with_tail(self) -> float | None:
        """Share of all rows outside events on which an alarm was on: also of the W rows after each event."""
        rows = self.normal_rows + self.tail_rows
        return (self.normal_in_alarm + self.tail_in_alarm) / rows if rows else None

    @property
    def delay(self) -> float | None:
        """Median rows from an event's start to its first true alarm."""
        return float(np.median(self.delays)) if self.delays else None


def onsets(on: Bool, window: int) -> list[int]:
    """Return the rows where alarms begin; those closer than `window` rows to the one before are one."""
    found: list[int] = []
    latest = -window
    for row in np.flatnonzero(on & ~np.concatenate([[False], on[:-1]])).tolist():
        if row - latest >= window:
            found.append(row)
        latest = row
    return found


def alarms(on: Bool, anomaly: Bool, window: int) -> Alarms:
    """Judge an alarm signal. on, anomaly: (n,) per row; window: W, the model's, in rows."""
    known = events(anomaly)
    near = np.zeros(len(on), np.bool_)
    for start, end in known.tolist():
        near[start : end + window + 1] = True
    begun = onsets(on, window)
    true = sum(bool(near[row]) for row in begun)
    delays = []
    for start, end in known.tolist():
        hits = [row for row in begun if start <= row <= end + window]
        if hits:
            delays.append(hits[0] - start)
    tail = near & ~anomaly
    return Alarms(
        events=len(known),
        hit=len(delays),
        true=true,
        false=len(begun) - true,
        normal_rows=int((~near).sum()),
        normal_in_alarm=int((on & ~near).sum()),
        delays=tuple(delays),
        tail_rows=int(tail.sum()),
        tail_in_alarm=int((on & tail).sum()),
    )


def total(parts: list[Alarms]) -> Alarms:
    """Return the sum over several series."""
    counts = ("events", "hit", "true", "false", "normal_rows", "normal_in_alarm", "tail_rows", "tail_in_alarm")
    delays = tuple(delay for part in parts for delay in part.delays)
    return Alarms(**{name: sum(getattr(part, name) for part in parts) for name in counts}, delays=delays)
