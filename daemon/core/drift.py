"""How far values have moved from those a model was made with: the population stability index of each column.

PSI = sum over bins of (now - then) ln(now / then), of shares of rows (Siddiqi 2006, after Jeffreys' divergence). Usual
reading: below .1 the same, up to .25 look, above it another population. Bins are tenths of the reference, and what lies
below or above all of it. Memory is a bin's count per column, whatever the number of sensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from daemon.core.card import Card
from daemon.core.records import F32, F64

TENTHS = 10
BINS = TENTHS + 2
LEAST = 1000  # rows, for a share of a tenth to be known to a hundredth
MOST = 256  # rows of a batch that are counted, evenly spread: shares need no more, and a batch's cost is bounded
HALF_LIFE_S = 86_400.0  # of the sensors' own time: a whole day speaks, so a daily rhythm is no drift
LEAST_SHARE = 1e-4  # of an empty bin; PSI has no value without


@dataclass(frozen=True, slots=True)
class Reference:
    """One column's distribution. edges: increasing, at most 11; shares: (edges + 1,) of rows up to each, and beyond."""

    edges: tuple[float, ...]
    shares: tuple[float, ...]

    @classmethod
    def of(cls, values: F32) -> Reference:
        """Return the distribution of these values, (n,), n >= 1, finite."""
        tenths = np.unique(np.quantile(values, np.linspace(0, 1, TENTHS + 1)).astype(np.float32))
        below = np.nextafter(tenths[:1], np.float32(-np.inf))  # so that the least value lies above the first edge
        edges = np.concatenate([below, tenths[1:] if len(tenths) > 1 else tenths])
        counts = np.bincount(np.searchsorted(edges, values.astype(np.float32)), minlength=len(edges) + 1)
        return cls(tuple(edges.tolist()), tuple((counts / len(values)).tolist()))


class Drift:
    """The newest distributions of the columns of one stream, all its sensors together, beside their references."""

    def __init__(self, names: Sequence[str], references: Sequence[Reference]) -> None:
        columns = len(references)
        self.names = tuple(names)
        self._edges: F32 = np.full((columns, BINS - 1), np.inf, np.float32)
        self._then: F64 = np.full((columns, BINS), LEAST_SHARE)
        for k, one in enumerate(references):
            self._edges[k, : len(one.edges)] = one.edges
            self._then[k, : len(one.shares)] = np.maximum(one.shares, LEAST_SHARE)
        self._counts: F64 = np.zeros((columns, BINS))  # replaced as a whole: who reads sees one state
        self._offset = np.arange(columns) * BINS
        self._newest = -np.inf
        self._rows = 0.0
        self._turn = 0

    def update(self, t: F64, values: F32) -> None:
        """Count rows. t: (N,) their times; values: (N, columns); a row with a NaN is left out."""
        step = -(-len(t) // MOST)
        self._turn += 1  # so that a sensor whose rows always lie between two steps has its turn, too
        places = slice(self._turn % step if step else 0, None, step or 1)
        values = values[places]
        good = np.flatnonzero(~np.isnan(values).any(axis=1))
        if not len(good):
            return
        stands_for = len(t) / len(values)
        place = (values[good][:, :, None] > self._edges).sum(axis=2) + self._offset
        seen = np.bincount(place.ravel(), minlength=self._counts.size).reshape(self._counts.shape)
        newest = max(float(t.max()), self._newest)
        kept = 0.5 ** ((newest - self._newest) / HALF_LIFE_S)
        self._newest = newest
        self._counts = self._counts * kept + seen * stands_for
        self._rows += len(good) * stands_for

    def index(self) -> dict[str, float]:
        """Return each column's PSI; nothing before LEAST rows."""
        if self._rows < LEAST:
            return {}
        counts = self._counts
        now = np.maximum(counts / counts.sum(axis=1, keepdims=True), LEAST_SHARE)
        found = ((now - self._then) * np.log(now / self._then)).sum(axis=1)
        return dict(zip(self.names, found.tolist(), strict=True))


def of_scores(card: Card) -> Drift | None:
    """Return the drift of a model's raw scores from those that calibrate it; None where too few do."""
    known = np.array([score for segment in card.calibration.segments for score in segment], np.float32)
    return Drift(["score"], [Reference.of(known)]) if len(known) >= LEAST // TENTHS else None


def of_inputs(card: Card) -> Drift | None:
    """Return the drift of a model's channels from the rows it was fitted on; None where its file does not tell them."""
    references = [Reference(tuple(one.edges), tuple(one.shares)) for one in card.inputs]
    return Drift(card.channels, references) if references else None
