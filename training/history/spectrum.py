"""Dominant periods of a signal: peaks of the spectrum, overtones merged, each confirmed by autocorrelation.

Source: Vlachos, Yu, Castelli 2005, "On periodicity detection and structural periodic similarity" (candidates from the
periodogram, kept where the autocorrelation has a hill). The constants are ours, set on sines, pulses and noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daemon.core.records import F32, F64

MOST_ROWS = 1 << 18  # the newest rows of a longer signal
MOST_CANDIDATES = 12
LEAST_CYCLES = 4.0  # of a period, in the signal: a random walk often has three
#: A peak has this many times the median power around it: white noise reaches ln(n)/ln 2, that is 17 at 2e5 rows.
PROMINENT = 25.0
NEIGHBOURS = 24  # bins on each side
#: The hill of the autocorrelation above the valley before it.
HILL = 0.15


@dataclass(frozen=True, slots=True)
class Period:
    """rows: its length; share: of the signal's power, overtones included; correlation: with itself one period on."""

    rows: float
    share: float
    correlation: float


def periods(signal: F32 | F64, most: int = 3) -> list[Period]:
    """Return the dominant periods of an evenly spaced signal without gaps, strongest first; often none.

    signal: (N,) finite. A period lasts more than 2 rows, and fits LEAST_CYCLES times into the signal.
    """
    x = np.asarray(signal[-MOST_ROWS:], np.float64)
    n = len(x)
    if n < 32 or np.ptp(x) == 0:
        return []
    at = np.linspace(-1, 1, n)
    x = x - x.mean()
    x -= at * (at @ x) / (at @ at)
    if x.std() <= 1e-9 * np.abs(signal).max():
        return []
    power = np.square(np.abs(np.fft.rfft(x * np.hanning(n))))
    total = float(power[1:].sum())
    correlation = _autocorrelation(x)
    confirmed: list[list[float]] = []  # frequency in cycles per row, power, correlation
    for peak in _peaks(power):
        frequency = _refined(power, peak) / n
        height = _hill(correlation, 1 / frequency)
        if height is not None and frequency * n >= LEAST_CYCLES - 0.25:
            confirmed.append([frequency, float(power[max(peak - 2, 1) : peak + 3].sum()), height])
    found = _merge(confirmed)
    found.sort(key=lambda one: -one[1])
    return [Period(1 / one[0], min(one[1] / total, 1.0), one[2]) for one in found[:most] if one[1] > 0.02 * total]


def _peaks(power: F64) -> list[int]:
    """Return the bins that stand out of their neighbourhood, strongest first."""
    inner = power[1:-1]
    tops = np.flatnonzero((inner > power[:-2]) & (inner >= power[2:])) + 1
    tops = tops[tops >= LEAST_CYCLES - 0.5]
    strongest = tops[np.argsort(power[tops])[::-1]][: 4 * MOST_CANDIDATES]
    found = []
    for top in strongest.tolist():
        around = power[max(top - NEIGHBOURS, 1) : top + NEIGHBOURS + 1]
        if power[top] > PROMINENT * np.median(around):
            found.append(top)
    return found[:MOST_CANDIDATES]


def _autocorrelation(x: F64) -> F64:
    """Return the correlation of x with itself k rows on, k < n/2, each over the rows that overlap."""
    n = len(x)
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(x, size)
    raw = np.fft.irfft(np.square(np.abs(spectrum)), size)[: n // 2]
    raw /= np.arange(n, n - len(raw), -1)
    return np.asarray(raw / raw[0])


def _hill(correlation: F64, length: float) -> float | None:
    """Return the height of the autocorrelation's hill at about this many rows, or None where it has none."""
    slack = max(1.0, 0.12 * length)
    low, high = max(int(np.floor(length - slack)), 1), int(np.ceil(length + slack))
    if high + 1 >= len(correlation):
        return None
    top = low + int(np.argmax(correlation[low : high + 1]))
    height = float(correlation[top])
    if height < max(correlation[top - 1], correlation[top + 1]):  # a slope, no hill
        return None
    valley = float(correlation[max(round(top / 4), 0) : top + 1].min())
    if height < HILL or height - valley < HILL:
        return None
    return height


def _refined(power: F64, peak: int) -> float:
    """Return where between the bins a peak is: the top of a parabola through the logarithms of three bins."""
    before, here, after = np.log(power[peak - 1 : peak + 2] + 1e-300)
    bend = before - 2 * here + after
    return peak + (float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5)) if bend < 0 else 0.0)


def _merge(found: list[list[float]]) -> list[list[float]]:
    """Return the periods with overtones added to their fundamental, and doubles to each other.

    What is more than twice as strong as the fundamental is a rhythm of its own, as days are beside weeks.
    """
    kept: list[list[float]] = []
    for one in sorted(found):
        for base in kept:
            ratio = one[0] / base[0]
            if abs(ratio - round(ratio)) < 0.03 * max(1.0, ratio / 4) and (round(ratio) == 1 or one[1] <= 2 * base[1]):
                base[1] += one[1]
                break
        else:
            kept.append(list(one))
    return kept
