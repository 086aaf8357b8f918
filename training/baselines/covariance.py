"""Centre and covariance of many overlapping windows, without holding them all, and what makes them white."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from daemon.core.records import F32, F64

CHUNK = 4096  # windows held as float64 at a time
FLOOR = 1e-3  # of the largest eigenvalue; 3e-4 to 3e-3 do the same on 8 and 43 channels, 1e-2 loses .05 on the 43
LEAST = 1e-4  # squared spreads; where every sensor was constant


def of(cuts: Iterable[F32]) -> tuple[F64, F64]:
    """Return (centre, covariance), (D,) and (D, D), of windows (n, rows, C) with D = rows x C."""
    count, total, products = 0, np.zeros(1), np.zeros((1, 1))
    for cut in cuts:
        for n in range(0, len(cut), CHUNK):
            chunk = cut[n : n + CHUNK].reshape(min(CHUNK, len(cut) - n), -1).astype(np.float64)
            count += len(chunk)
            total = total + chunk.sum(axis=0)
            products = products + chunk.T @ chunk
    centre = np.asarray(total / count)
    return centre, products / count - np.outer(centre, centre)


def whitener(cuts: Iterable[F32]) -> tuple[F64, F64]:
    """Return (centre, whiten), (D,) and (D, D), of normal windows: |(v - centre) @ whiten| is the distance of v.

    Small eigenvalues are raised to FLOOR of the largest, which makes it work where there are fewer windows than D.
    """
    centre, spread = of(cuts)
    values, vectors = np.linalg.eigh(spread)
    return centre, vectors / np.sqrt(np.maximum(values, max(FLOOR * values[-1], LEAST)))
