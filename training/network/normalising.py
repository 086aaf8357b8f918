"""What stands before the trunk inside the graph: normalisation of raw units.

Everything here is TensorFlow; both fitting and export go through it, so live and trained windows cannot differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from daemon.core.records import F32

SPREAD_FLOOR = 0.02  # of the window's reach: a still context must not blow a small move up without bound
LEVEL_FLOOR = 1e-6  # of |level|: 8 to 16 steps of float32, so that rounding alone is no signal
LARGEST = 1e18  # beyond it squares leave float32
CLIP = 20.0
LINEAR = 10.0  # spreads up to which the compression is slight: noise, its outliers and steps stay apart


@dataclass(frozen=True, slots=True)
class WindowNormaliser:
    """Each window by its own first half: any unit and offset, and what changes in the second half stands out.

    The first row is subtracted before anything else, as float32 would cancel under a large offset. A constant window
    becomes zeros.
    """

    def __call__(self, x: Any) -> Any:
        """Return normalised windows. x: (N, W, C) float32 in raw units."""
        import tensorflow as tf

        half = x.shape[1] // 2
        x = tf.clip_by_value(x, -LARGEST, LARGEST)
        first = x[:, :1]
        moved = x - first
        level = LEVEL_FLOOR * tf.abs(first) + 1e-30
        unit = tf.reduce_max(tf.abs(moved), axis=1, keepdims=True) + level
        moved = moved / unit
        context = moved[:, :half]
        centre = tf.reduce_mean(context, axis=1, keepdims=True)
        spread = tf.sqrt(tf.reduce_mean(tf.square(context - centre), axis=1, keepdims=True))
        return _compress((moved - centre) / (spread + SPREAD_FLOOR + level / unit))


@dataclass(frozen=True, slots=True)
class FitNormaliser:
    """Each channel by the mean and standard deviation of the rows a model was fitted on: for sensors it knows."""

    mean: F32
    sd: F32

    @classmethod
    def of(cls, rows: F32) -> FitNormaliser:
        """Return the normaliser of these rows, (n, C); sd is at least a thousandth of |mean| + 1."""
        mean = rows.astype(np.float64).mean(axis=0)
        sd = np.maximum(rows.astype(np.float64).std(axis=0), 1e-3 * (np.abs(mean) + 1))
        return cls(mean.astype(np.float32), sd.astype(np.float32))

    def __call__(self, x: Any) -> Any:
        """Return normalised windows. x: (N, W, C) float32 in raw units."""
        import tensorflow as tf

        return _compress(tf.clip_by_value((x - self.mean) / self.sd, -CLIP, CLIP))

    def beyond(self, x: Any) -> Any:
        """Return log(1 + how far the window's farthest value lies beyond CLIP), (N,): what `__call__` cuts off."""
        import tensorflow as tf

        z = tf.abs((tf.clip_by_value(x, -LARGEST, LARGEST) - self.mean) / self.sd)
        return tf.math.log(1.0 + tf.nn.relu(tf.reduce_max(z, axis=[1, 2]) - CLIP))


@dataclass(frozen=True, slots=True)
class StandardNormaliser:
    """As FitNormaliser, but linear and without a limit: for heads whose score is a distance."""

    mean: F32
    sd: F32

    @classmethod
    def of(cls, rows: F32) -> StandardNormaliser:
        """Return the normaliser of these rows, (n, C); sd has FitNormaliser's floor."""
        usual = FitNormaliser.of(rows)
        return cls(usual.mean, usual.sd)

    def __call__(self, x: Any) -> Any:
        """Return normalised windows. x: (N, W, C) float32 in raw units."""
        import tensorflow as tf

        return (tf.clip_by_value(x, -LARGEST, LARGEST) - self.mean) / self.sd


Normaliser = WindowNormaliser | FitNormaliser | StandardNormaliser


def _compress(z: Any) -> Any:
    """Return sign(z) k log(1 + |z| / k), k = LINEAR: near 0 the signal itself, far out its magnitude only."""
    import tensorflow as tf

    return tf.sign(z) * LINEAR * tf.math.log(1.0 + tf.abs(z) / LINEAR)
