"""A histogram over arrays: a whole batch is observed at once. NumPy only; metrics.py knows how to print one."""

from __future__ import annotations

from threading import Lock

import numpy as np
from numpy.typing import ArrayLike

#: Upper bounds in seconds, from half a millisecond (a small CPU batch) to the minute of a daemon that fell behind.
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
#: Windows in one batch: the powers of two that the GPU's buckets use.
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0)


class Histogram:
    """Counts of observations by upper bound, and their sum; Prometheus' meaning of `le` (a bound belongs below).

    One thread may observe while another reads: what is read is one moment's state.
    """

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self._edges = np.asarray(bounds, np.float64)
        self._counts = np.zeros(len(bounds) + 1, np.int64)
        self._sum = 0.0
        self._lock = Lock()

    def observe(self, values: ArrayLike) -> None:
        """Count every value; values: a number or an array of any shape, without NaN."""
        flat = np.asarray(values, np.float64).ravel()
        counts = np.bincount(np.searchsorted(self._edges, flat, side="left"), minlength=len(self._counts))
        with self._lock:
            self._counts += counts
            self._sum += float(flat.sum())

    def read(self) -> tuple[list[int], float]:
        """Return (cumulative counts for each bound and then for infinity, sum of all values)."""
        with self._lock:
            return np.cumsum(self._counts).tolist(), self._sum
