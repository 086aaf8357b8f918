"""What an export is like before anything is fitted on it: facts per series and sensor, and what to do about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from daemon.core.records import F64
from training.history import spectrum, windows
from training.history.reading import Series
from training.history.spectrum import Period

WINDOWS = (64, 256, 1024)

#: A robust z beyond this is an outlier: |x - median| / (1.4826 median |x - median|). Iglewicz & Hoaglin flag from 3.5
#: on, for normal noise; process data have steps and slopes, so only what is far out is worth a look.
OUTLIER_Z = 8.0
STATES = 10  # a sensor with at most so many different values is a switch: it may stay as it is for long
LONG_RUN = 100  # equal values in a row, where values differ otherwise: stuck, or stored on change only
CLIPPED = 0.01  # this share of rows at the very minimum or maximum, in runs
IRREGULAR = 0.9  # less of the steps within half an interval: the grid has to guess


@dataclass(frozen=True, slots=True)
class Windows:
    """How many windows of this size fit: into the rows as they are; once gaps and dropped rows are respected."""

    window: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Timing:
    """The stamps of a series. Times in epoch seconds; regularity: share of steps within half an interval of it.

    gap: a step of more than 1.5 intervals. *_row: where in the file the first, or the longest, is; None where none.
    """

    start: float
    end: float
    interval_s: float
    regularity: float
    gaps: int
    longest_gap_s: float
    longest_gap_row: int | None
    duplicates: int
    duplicate_row: int | None
    backwards: int
    backward_row: int | None


@dataclass(frozen=True, slots=True)
class Sensor:
    """One column. Counts are of rows; *_row: where in the file the first one is, or the run starts.

    longest_run: equal values in a row. at_low, at_high: share of rows at the minimum and maximum, next to an equal one.
    """

    name: str
    missing: int
    missing_row: int | None
    distinct: int
    low: float
    median: float
    high: float
    longest_run: int
    run_row: int | None
    at_low: float
    at_high: float
    outliers: int
    outlier_row: int | None
    periods: tuple[Period, ...]


@dataclass(frozen=True, slots=True)
class Inspection:
    """One series. fit_rows: before train_end and before the first labelled anomaly. events: runs of labelled rows."""

    series: Series
    timing: Timing
    sensors: tuple[Sensor, ...]
    windows: tuple[Windows, ...]
    fit_windows: tuple[int, ...]
    dropped: dict[str, int]
    fit_rows: int
    labelled_rows: int
    events: int


def inspect(series: Series, sizes: Sequence[int] = WINDOWS) -> Inspection:
    """Return the facts about one series."""
    label = series.label if series.label is not None else np.zeros(len(series.t), np.int8)
    counted, fits = [], []
    laid = windows.lay(series, max(sizes), end=len(series.t))
    fit_end = int(np.searchsorted(laid.row, series.fit_end()))
    for window in sizes:
        if window <= windows.FILLED_INTERVALS:  # a gap as long as the window is never filled
            laid = windows.lay(series, window, end=len(series.t))
            fit_end = int(np.searchsorted(laid.row, series.fit_end()))
        after = windows.starts(laid, window)
        counted.append(Windows(window, max(len(series.t) - window + 1, 0), len(after)))
        fits.append(int((after + window <= fit_end).sum()))
    return Inspection(
        series=series,
        timing=timing(series),
        sensors=tuple(_sensor(series, column) for column in range(len(series.columns))),
        windows=tuple(counted),
        fit_windows=tuple(fits),
        dropped=laid.dropped,
        fit_rows=series.fit_end(),
        labelled_rows=int((label != 0).sum()),
        events=int((np.diff((label != 0).astype(np.int8), prepend=0) == 1).sum()),
    )


def timing(series: Series) -> Timing:
    """Return the facts about the stamps."""
    t, rows = series.t, series.rows
    steps, interval = np.diff(t), series.interval_s
    forward = steps[steps > 0]
    regular = np.abs(forward - interval) <= interval / 2
    gap = steps > 1.5 * interval
    longest = int(np.argmax(steps)) if gap.any() else 0
    return Timing(
        start=float(t.min()),
        end=float(t.max()),
        interval_s=interval,
        regularity=float(regular.mean()) if len(forward) else 0.0,
        gaps=int(gap.sum()),
        longest_gap_s=float(steps[longest]) if gap.any() else 0.0,
        longest_gap_row=int(rows[longest + 1]) if gap.any() else None,
        duplicates=int((steps == 0).sum()),
        duplicate_row=int(rows[1:][steps == 0][0]) if (steps == 0).any() else None,
        backwards=int((steps < 0).sum()),
        backward_row=int(rows[1:][steps < 0][0]) if (steps < 0).any() else None,
    )


def _sensor(series: Series, column: int) -> Sensor:
    values, rows = series.values[:, column].astype(np.float64), series.rows  # a sum of float32 may overflow
    known = np.isfinite(values)
    x = values[known]
    blank = np.flatnonzero(~known)
    first_blank = int(rows[blank[0]]) if len(blank) else None
    name = series.columns[column]
    if not len(x):
        nothing = float("nan")
        return Sensor(name, len(blank), first_blank, 0, nothing, nothing, nothing, 0, None, 0.0, 0.0, 0, None, ())
    place = np.flatnonzero(known)
    low, high = float(x.min()), float(x.max())
    begins = np.flatnonzero(np.diff(x, prepend=np.nan) != 0)  # of runs of equal values
    lengths = np.diff(begins, append=len(x))
    longest = int(np.argmax(lengths))
    paired = lengths > (1 if high > low else len(x))  # what never moves is at no limit
    far = np.flatnonzero(_robust_z(x) > OUTLIER_Z)
    return Sensor(
        name=name,
        missing=len(blank),
        missing_row=first_blank,
        distinct=len(np.unique(x)),
        low=low,
        median=float(np.median(x)),
        high=high,
        longest_run=int(lengths[longest]),
        run_row=int(rows[place[begins[longest]]]),
        at_low=float(lengths[paired & (x[begins] == low)].sum() / len(x)),
        at_high=float(lengths[paired & (x[begins] == high)].sum() / len(x)),
        outliers=len(far),
        outlier_row=int(rows[place[far[0]]]) if len(far) else None,
        periods=tuple(spectrum.periods(even(series, column))),
    )


def _robust_z(x: F64) -> F64:
    """Return how far each value is from the median; 0 where more than half of them are equal, so nothing is known."""
    away = np.abs(x - np.median(x))
    spread = 1.4826 * float(np.median(away))
    return away / spread if spread > 1e-12 * max(float(np.abs(x).max()), 1e-300) else np.zeros(len(x))


def even(series: Series, column: int) -> F64:
    """Return the longest stretch of a sensor without a gap that the daemon would not fill, evenly spaced.

    Empty where the stamps are too irregular to be called even.
    """
    keep = np.isfinite(series.values[:, column])
    t, x = series.t[keep], series.values[keep, column].astype(np.float64)
    interval = series.interval_s
    if len(t) < 2 or not interval:
        return np.zeros(0)
    steps = np.rint(np.diff(t) / interval)
    if (steps == 1).mean() < IRREGULAR:
        return np.zeros(0)
    breaks = np.flatnonzero((steps < 0) | (steps > windows.FILLED_INTERVALS + 1)) + 1
    edges = np.concatenate([[0], breaks, [len(t)]])
    widest = int(np.argmax(np.diff(edges)))
    part = slice(int(edges[widest]), int(edges[widest + 1]))
    at = np.concatenate([[0.0], np.cumsum(np.maximum(steps[part.start : part.stop - 1], 0))])
    if at[-1] + 1 == len(at):
        return np.asarray(x[part])
    once = np.concatenate([[True], np.diff(at) > 0])
    return np.asarray(np.interp(np.arange(int(at[-1]) + 1), at[once], x[part][once]))
