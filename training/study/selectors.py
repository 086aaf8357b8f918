"""Window sizes that look at the signal alone: what others choose by, so that ours can be held against them.

Sources: Ermshaus, Schaefer & Leser 2022, "Window size selection in unsupervised time series analytics" (FFT, ACF), and
2023, "ClaSP: parameter-free time series segmentation" (SuSS, summary statistics of subsequences).
"""

from __future__ import annotations

import numpy as np

from daemon.core.records import F32, F64

MOST_ROWS = 20_000  # the newest rows of a longer signal
LEAST = 10  # rows, as published: shorter periods are noise to all three
SUSS_THRESHOLD = 0.89  # as published


def fft(signal: F32 | F64) -> int | None:
    """Return the period of the strongest frequency, in rows, None where there is none of LEAST rows or more."""
    x = _centred(signal)
    if x is None:
        return None
    power = np.abs(np.fft.rfft(x))
    periods = len(x) / np.arange(1, len(power))
    fitting = (periods >= LEAST) & (periods <= len(x) / 2)
    if not fitting.any():
        return None
    return round(float(periods[np.argmax(np.where(fitting, power[1:], -1.0))]))


def acf(signal: F32 | F64) -> int | None:
    """Return the lag of the highest hill of the autocorrelation, in rows, None where there is no hill."""
    x = _centred(signal)
    if x is None:
        return None
    correlation = autocorrelation(x)[: len(x) // 2]
    inner = np.flatnonzero((correlation[1:-1] > correlation[:-2]) & (correlation[1:-1] >= correlation[2:])) + 1
    inner = inner[inner >= LEAST]
    return int(inner[np.argmax(correlation[inner])]) if len(inner) else None


def suss(signal: F32 | F64) -> int | None:
    """Return twice the shortest subsequence whose mean, spread and range are like the whole signal's, in rows.

    None where the signal is constant or shorter than four times LEAST. As the authors' code does it: the signal scaled
    to 0 .. 1; all subsequences but the first; the root of the squared differences of the three statistics over the root
    of the length, averaged, scaled so that one row is 0 and all rows but one are 1; powers of two up to the first one
    above SUSS_THRESHOLD, then halving between it and the one before. A test holds it against a slow twin.
    """
    x = _centred(signal)
    if x is None:
        return None
    x = (x - x.min()) / np.ptp(x)
    most, least = _unlike(x, 1), _unlike(x, len(x) - 1)

    def alike(rows: int) -> float:
        return 1 - (_unlike(x, rows) - least) / (most - least)

    if most == least:
        return LEAST
    step = 1 << (LEAST - 1).bit_length()
    while step < len(x) - 1 and alike(step) <= SUSS_THRESHOLD:
        step *= 2
    low, high = max(LEAST, step // 2), min(step + 1, len(x) - 1)
    while low <= high:
        middle = (low + high) // 2
        found = alike(middle)
        if found == SUSS_THRESHOLD:
            break
        low, high = (middle + 1, high) if found < SUSS_THRESHOLD else (low, middle - 1)
    return 2 * low


def autocorrelation(x: F64) -> F64:
    """Return the correlation of a signal of mean 0 with itself k rows on, k < N, by the biased estimate: 1.0 at 0."""
    size = 1 << (2 * len(x) - 1).bit_length()
    raw = np.fft.irfft(np.square(np.abs(np.fft.rfft(x, size))), size)[: len(x)]
    return np.asarray(raw / raw[0])


def _centred(signal: F32 | F64) -> F64 | None:
    x = np.asarray(signal[-MOST_ROWS:], np.float64)
    if len(x) < 4 * LEAST or np.ptp(x) <= 1e-9 * max(float(np.abs(x).max()), 1e-30):
        return None
    return np.asarray(x - x.mean())


def _unlike(x: F64, rows: int) -> float:
    """Return how far mean, spread and range of subsequences are from the whole signal's, for their length.

    x: (N,) from 0 to 1; rows < N. The first subsequence is left out, as in the authors' code.
    """
    sums, squares = (np.concatenate([[0.0], np.cumsum(part)]) for part in (x - x.mean(), np.square(x - x.mean())))
    mean = (sums[rows:] - sums[:-rows])[1:] / rows  # less that of the whole signal
    variance = (squares[rows:] - squares[:-rows])[1:] / rows - np.square(mean)
    spread = np.sqrt(np.maximum(variance, 0.0)) - x.std()
    span = (_largest(x, rows) + _largest(-x, rows))[1:] - np.ptp(x)
    return float(np.sqrt((np.square(mean) + np.square(spread) + np.square(span)) / rows).mean())


def _largest(x: F64, rows: int) -> F64:
    """Return the maximum of each run of `rows` values, (N - rows + 1,): by runs of powers of two."""
    run, size = x, 1
    while 2 * size <= rows:
        run, size = np.maximum(run[:-size], run[size:]), 2 * size
    count = len(x) - rows + 1
    return np.maximum(run[:count], run[rows - size : rows - size + count])


SELECTORS = {"fft": fft, "acf": acf, "suss": suss}
