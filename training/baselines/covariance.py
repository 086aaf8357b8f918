"""Centre and covariance of many overlapping windows, without holding them all."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from daemon.core.records import F32, F64

CHUNK = 4096  # windows held as float64 at a time


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
