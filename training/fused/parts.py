"""Closed forms in the graph: how far a stretch of rows lies from the normal ones. Nothing here is trained by gradient.

A part is fitted on normal windows and called on others, both normalised, newest row last; it looks at its own newest
rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from daemon.core.records import F32
from training.baselines import covariance

MOST = 500  # normal windows that are remembered
NEAREST = 3
FITTED_ON = 20_000  # windows at most, evenly spread; beyond, a covariance gains nothing
NOISE = 1e-2  # standard deviations below which a described window's spread is called none


class Part(Protocol):
    """One view of a window. rows: how many of the newest it looks at."""

    @property
    def name(self) -> str:
        """Return what the card calls it."""

    @property
    def rows(self) -> int:
        """Return how many rows it looks at."""

    def distance(self, x: Any) -> Any:
        """Return (N,), not negative. x: (N, rows, C), a tensor."""


@dataclass(frozen=True, slots=True)
class Whitened:
    """Joint whitening: the Mahalanobis distance over rows and channels. Source: Mahalanobis (1936).

    every: how many rows are averaged to one before; coarse, as many numbers see farther back. centre: (D,), whiten: (D,
    D) with D = rows / every x C: |(v - centre) @ whiten| is the distance of v.
    """

    rows: int
    every: int
    centre: F32
    whiten: F32
    name: str = "whitened"

    @classmethod
    def of(cls, x: F32, every: int = 1) -> Whitened:
        """Fit on normal windows x, (N, rows, C); `every` divides the rows."""
        kept = _thinned(x)
        coarse = kept.reshape(len(kept), x.shape[1] // every, every, x.shape[2]).mean(axis=2)
        centre, whiten = covariance.whitener([coarse])
        name = "whitened" if every == 1 else f"whitened, means of {every} rows"
        return cls(x.shape[1], every, centre.astype(np.float32), whiten.astype(np.float32), name)

    def distance(self, x: Any) -> Any:
        """See Part."""
        import tensorflow as tf

        return tf.sqrt(tf.reduce_sum(tf.square(tf.matmul(self._apart(x), self.whiten)), axis=1))

    def cells(self, x: Any) -> Any:
        """Return (N, rows, C): what each value adds to the square of the distance, which may be negative."""
        import tensorflow as tf

        apart = self._apart(x)
        pull = tf.matmul(tf.matmul(apart, self.whiten), np.ascontiguousarray(self.whiten.T))
        coarse = tf.reshape(apart * pull, [-1, self.rows // self.every, x.shape[2]])
        return tf.repeat(coarse / self.every, self.every, axis=1)

    def _apart(self, x: Any) -> Any:
        import tensorflow as tf

        coarse = tf.reduce_mean(tf.reshape(x, [-1, self.rows // self.every, self.every, x.shape[2]]), axis=2)
        return tf.reshape(coarse, [-1, len(self.centre)]) - self.centre


@dataclass(frozen=True, slots=True)
class Nearest:
    """Mean distance to the three nearest of some normal windows, by shape. Source: Ramaswamy, Rastogi & Shim (2000).

    Each window is taken without its own level. centre: (D,) the memory's mean, taken off before products, which cancel
    in float32 otherwise. memory: (M, D) around it.
    """

    rows: int
    centre: F32
    memory: F32
    name: str = "nearest shape"

    @classmethod
    def of(cls, x: F32, seed: int) -> Nearest:
        """Fit on normal windows x, (N, rows, C); `seed` draws those to remember."""
        kept = x[drawn(len(x), seed)].astype(np.float64)
        flat = (kept - kept.mean(axis=1, keepdims=True)).reshape(len(kept), -1)
        centre = flat.mean(axis=0)
        return cls(x.shape[1], centre.astype(np.float32), (flat - centre).astype(np.float32))

    def distance(self, x: Any) -> Any:
        """See Part."""
        import tensorflow as tf

        shape = x - tf.reduce_mean(x, axis=1, keepdims=True)
        return nearest(tf.reshape(shape, [-1, len(self.centre)]) - self.centre, self.memory)


@dataclass(frozen=True, slots=True)
class Described:
    """Nearest normal windows as five numbers a channel tell them: mean, log spread, log roughness, least and most.

    Blind to where in the window something happens, so a rhythm that slips a little stays normal. centre, spread: (5 C,)
    of normal windows' numbers; memory: (M, 5 C), normalised by them.
    """

    rows: int
    centre: F32
    spread: F32
    memory: F32
    name: str = "described"

    @classmethod
    def of(cls, x: F32, seed: int) -> Described:
        """Fit on normal windows x, (N, rows, C); `seed` draws those to remember."""
        told = np.asarray(_told(_thinned(x)), np.float64)
        centre, spread = told.mean(axis=0), told.std(axis=0) + NOISE
        memory = (told[drawn(len(told), seed)] - centre) / spread
        return cls(x.shape[1], centre.astype(np.float32), spread.astype(np.float32), memory.astype(np.float32))

    def distance(self, x: Any) -> Any:
        """See Part."""
        return nearest((_told(x) - self.centre) / self.spread, self.memory)


def nearest(flat: Any, memory: F32) -> Any:
    """Return the mean distance (N,) of vectors (N, D) to the NEAREST of a memory (M, D)."""
    import tensorflow as tf

    found = tf.gather(memory, neighbours(flat, memory, min(NEAREST, len(memory))))
    # by differences, not by the products that found them: those cancel, and a repeated window must be at distance 0
    return tf.reduce_mean(tf.sqrt(tf.reduce_sum(tf.square(found - flat[:, None]), axis=2)), axis=1)


def neighbours(flat: Any, memory: F32, count: int) -> Any:
    """Return which `count` of a memory (M, D) are nearest to vectors (N, D), (N, count)."""
    import tensorflow as tf

    lengths = np.square(memory.astype(np.float64)).sum(axis=1).astype(np.float32)
    closeness = 2.0 * tf.matmul(flat, np.ascontiguousarray(memory.T)) - lengths
    return tf.math.top_k(closeness, k=count, sorted=False).indices


def drawn(count: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return which of `count` windows are remembered, in order."""
    chosen = np.random.default_rng([seed, 11]).permutation(count)[:MOST]
    chosen.sort()
    return chosen


def _thinned(x: F32) -> F32:
    return x[:: max(1, len(x) // FITTED_ON)]


def _told(x: Any) -> Any:
    """Return (N, 5 C) numbers of windows x, (N, rows, C) with at least two rows."""
    import tensorflow as tf

    steps = x[:, 1:] - x[:, :-1]
    return tf.concat(
        [
            tf.reduce_mean(x, axis=1), tf.math.log(_spread(x) + NOISE), tf.math.log(_spread(steps) + NOISE),
            tf.reduce_min(x, axis=1), tf.reduce_max(x, axis=1),
        ],
        axis=1,
    )  # fmt: skip


def _spread(x: Any) -> Any:
    import tensorflow as tf

    apart = x - tf.reduce_mean(x, axis=1, keepdims=True)
    return tf.sqrt(tf.reduce_mean(tf.square(apart), axis=1))
