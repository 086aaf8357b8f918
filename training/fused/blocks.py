"""Normal rows in blocks of time: what is calibrated on a block was fitted on the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from daemon.core.records import F32
from training.fused.graph import stretches
from training.fused.parts import FITTED_ON

MOST = 4
LEAST = 1.5  # windows in a block, so that it gives at least half a window of scores


@dataclass(frozen=True, slots=True)
class Blocks:
    """Series of normal rows, (n, C) each, cut into `count` blocks of time each, oldest first."""

    series: tuple[F32, ...]
    count: int

    @classmethod
    def of(cls, series: Sequence[F32], window: int) -> Blocks:
        """Cut series, the longest of them at least four windows long."""
        return cls(tuple(series), max(2, min(MOST, int(max(map(len, series)) // (LEAST * window)))))

    def block(self, number: int) -> Iterator[F32]:
        """Return that block of each series."""
        for rows in self.series:
            a, b = self._span(rows, number)
            yield rows[a:b]

    def before(self, number: int) -> list[F32]:
        """Return the rows of each series before that block."""
        return [rows[: self._span(rows, number)[0]] for rows in self.series]

    def fitting(self, length: int, left_out: int | None = None) -> F32:
        """Return runs of `length` rows, (N, length, C), at most FITTED_ON, none of which touches the block left out."""
        cuts, places = [], []
        for rows in self.series:
            cut = stretches(rows, length)
            start = np.arange(len(cut))
            if left_out is not None:
                a, b = self._span(rows, left_out)
                start = start[(start + length <= a) | (start >= b)]
            cuts.append(cut)
            places.append(start)
        step = max(1, -(-sum(map(len, places)) // FITTED_ON))
        return np.concatenate([cut[start[::step]] for cut, start in zip(cuts, places, strict=True)])

    def _span(self, rows: F32, number: int) -> tuple[int, int]:
        return len(rows) * number // self.count, len(rows) * (number + 1) // self.count
