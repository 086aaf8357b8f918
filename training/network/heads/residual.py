"""What `forecast` and `reconstruct` share: a network that returns what it could not tell, and scores made of that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from daemon.core.records import F32
from training.history import examples
from training.history.examples import Examples, Known
from training.network import layers
from training.network.layers import Preset
from training.network.normalising import FitNormaliser, StandardNormaliser

REACH = 8.0  # standard deviations: what a trunk is shown and what it can give back end there, what is scored does not
LEAST_SCALE = 0.1  # of a standard deviation; below it a residual of a sensor that hardly moves is rounding
#: While fitting on FEW rows or less: noise on what a trunk is shown, in standard deviations, and the share of its
#: features that is left out; with more rows less of both. Figures: docs/training.md, "What to expect of forecast".
NOISE, DROPOUT, FEW = 1.0, 0.5, 500
MOST = 1e15  # scales; its square, summed over a window, is still a float32


def bounded(z: Any) -> Any:
    """Return normalised rows as a trunk is shown them: nearly linear near 0, never beyond REACH."""
    import keras

    return REACH * keras.ops.tanh(z / REACH)


def shown(z: Any, rows: int) -> Any:
    """Return normalised rows as a trunk that must not learn them by heart is shown them: with noise while fitting.

    The residual on a few hundred rows is else a quarter of that on new ones, and a calibration that has met both takes
    the step between them for the sensor's own restlessness. rows: how many there are to learn from.
    """
    import keras

    return keras.layers.GaussianNoise(NOISE * min(1.0, FEW / max(rows, 1)))(bounded(z))


def features(preset: Preset, seen: Any, rows: int) -> Any:
    """Return the trunk's features, of which some are left out while fitting, for the same reason."""
    import keras

    return keras.layers.Dropout(DROPOUT * min(1.0, FEW / max(rows, 1)))(layers.trunk(preset, seen))


def loss(_: Any, residual: Any) -> Any:
    """Return the mean Huber loss of each window's residual, (N,): squared up to one standard deviation, then linear."""
    import keras

    size = keras.ops.abs(residual)
    within = keras.ops.minimum(size, 1.0)
    return keras.ops.mean(within * (size - 0.5 * within), axis=(1, 2))


@dataclass(frozen=True, slots=True)
class Residual:
    """What both heads answer alike; see training.network.heads.contract.Head."""

    labelled: bool = False
    loss: Any = loss

    def normaliser(self, rows: F32) -> StandardNormaliser:
        """See Head: without a limit on what lies far out."""
        return StandardNormaliser.of(rows)

    def examples(self, rows: F32, window: int, count: int, rng: np.random.Generator, usual: FitNormaliser) -> Examples:
        """See Head: normal windows alone, that wander a little, as another month might have shown them."""
        return examples.draw(rows, window, count, 0, rng, known=Known(usual.mean, usual.sd))

    def reach(self, network: Any, normaliser: Any, x: F32) -> F32:
        """See Head: the size of the values, in the least scale, that residuals are differences of."""
        size: F32 = np.abs(np.asarray(normaliser(x))).max(axis=(1, 2)) / LEAST_SCALE
        return size


def graph(network: Any, normaliser: Any, check: F32, floor: F32) -> Any:
    """Return raw windows -> score (N,), channel_score (N, C) and time_score (N, W): root mean squares.

    They are taken of |residual| / scale over the whole window, a channel's rows, a row's channels; scale is the root
    mean square of the normal windows `check` in each row and channel, at least `floor`, (W, 1).
    """
    import tensorflow as tf

    apart = [np.asarray(network(normaliser(check[n : n + 1024]))) for n in range(0, len(check), 1024)]
    usual = np.sqrt(np.square(np.concatenate(apart).astype(np.float64)).mean(axis=0))
    scale = np.maximum(usual, floor).astype(np.float32)
    shape = [None, *network.input_shape[1:]]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="window")])  # type: ignore[untyped-decorator]
    def run(window: Any) -> dict[str, Any]:
        residual = network(normaliser(window), training=False)
        squares = tf.square(tf.minimum(tf.abs(residual) / scale, MOST))
        by_channel, by_row = tf.reduce_mean(squares, axis=1), tf.reduce_mean(squares, axis=2)
        return {
            "score": tf.sqrt(tf.reduce_mean(by_channel, axis=1)),
            "channel_score": tf.sqrt(by_channel),
            "time_score": tf.sqrt(by_row),
        }

    return run
