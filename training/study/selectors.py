"""Window sizes that look at the signal alone: what others choose by, so that ours can be held against them.

Sources: Ermshaus, Schaefer & Leser 2022, "Window size selection in unsupervised time series analytics" (FFT, ACF), and
2023, "ClaSP: parameter-free time series segmentation" (SuSS, summary statistics of subsequences).
"""

from __future__ import annotations

import math

import numpy as np

from daemon.core.records import F32, F64

MOST_ROWS = 20_000  # the newest rows of a longer signal
LEAST = 8  # rows; shorter periods are noise to all three
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

    None where the signal is constant or shorter than four times LEAST.
    """
    x = _centred(signal)
    if x is None:
        return None
    x = (x - x.min()) / np.ptp(x)
    most, least = _unlike(x, 1), _unlike(x, len(x) - 1)

    def alike(rows: int) -> float:
        return 1 - (_unlike(x, rows) - least) / (most - least) if most > least else 1.0

    high = LEAST
    while high < len(x) // 2 and alike(high) < SUSS_THRESHOLD:
        high *= 2
    low, high = max(high // 2, LEAST), min(high, len(x) // 2)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if alike(middle) >= SUSS_THRESHOLD else (middle + 1, high)
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
    """Return how far the mean, spread and range of subsequences are from the whole signal's, for its length."""
    view = np.lib.stride_tricks.sliding_window_view(x, rows)[:: max(1, rows // 8)]
    own = np.stack([view.mean(axis=1), view.std(axis=1), np.ptp(view, axis=1)])
    whole = np.array([[x.mean()], [x.std()], [np.ptp(x)]])
    return float(np.sqrt(np.square(own - whole).sum(axis=0)).mean() / math.sqrt(rows))


SELECTORS = {"fft": fft, "acf": acf, "suss": suss}
