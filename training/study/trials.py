"""Faults put into normal rows that a detector was not fitted on: what stands in for labels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from daemon.core.records import F32, Bool
from daemon.demo import faults
from training.history.examples import SIZED, Known

MAGNITUDES = (1.0, 2.0, 4.0, 8.0)  # in standard deviations of the sensor's own history
UNSIZED = 4.0  # a changed frequency or amplitude of magnitude 1 is this many of faults.inject's units
LENGTH = (6, 200)  # rows of a fault, drawn evenly on a log scale
JUDGED = 512  # rows of a trial that are judged, at most
EARLY, AFTERMATH = 10, 120  # rows before and behind a fault that belong to its event, as people label them


@dataclass(frozen=True, slots=True)
class Trial:
    """Rows (n, C) with one fault, after `context` rows that are only there to fill the first windows.

    first: where they begin in what they were taken from; start, end: the fault's rows [start, end); wandered: gain,
    offset and noise moved as another month might show.
    """

    rows: F32
    first: int
    context: int
    start: int
    end: int
    wandered: bool

    @property
    def fault(self) -> Bool:
        """Return which of the judged rows the fault is on."""
        return self._marked(self.start, self.end)

    @property
    def event(self) -> Bool:
        """Return which of the judged rows belong to the event: the fault, a little before, its aftermath."""
        return self._marked(self.start - EARLY, self.end + AFTERMATH)

    def _marked(self, start: int, end: int) -> Bool:
        at = np.arange(self.context, len(self.rows))
        return np.asarray((at >= start) & (at < end))


def draw(rows: F32, known: Known, longest: int, rng: np.random.Generator) -> Iterator[Trial]:
    """Yield a round: every type of fault at every magnitude, half of them in rows that wander.

    rows: (n, C) normal rows that the detector does not know; known: what is usual; longest: the largest window of the
    study, so that all windows are judged on the same rows.
    """
    context = min(longest, len(rows) // 2)
    for place, kind in enumerate(faults.KINDS):
        for k, magnitude in enumerate(MAGNITUDES):
            yield _one(rows, known, context, kind, magnitude, bool((place + k) % 2), rng)


def _one(
    rows: F32, known: Known, context: int, kind: str, magnitude: float, wandered: bool, rng: np.random.Generator
) -> Trial:
    judged = min(len(rows) - context, JUDGED)
    first = int(rng.integers(0, len(rows) - context - judged + 1))
    clean = rows[first : first + context + judged]
    if wandered:
        clean = known.wander(clean[None], rng)[0]
    changed = clean.copy()
    length = max(2, min(int(np.exp(rng.uniform(*np.log(LENGTH)))), judged // 2))
    start = int(rng.integers(context, context + judged - length + 1))
    channels = rows.shape[1]
    for channel in rng.choice(channels, min(channels, int(rng.geometric(0.5))), replace=False).tolist():
        signal = changed[:, channel]
        unit = faults.spread(signal, start)
        size = magnitude * float(known.sd[channel]) / unit if kind in SIZED else UNSIZED * magnitude
        changed[:, channel] = faults.inject(signal, kind, start, length, size, rng)
    return Trial(changed, first, context, start, start + length, wandered)
