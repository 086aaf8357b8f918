"""Head `faults`: normal windows against windows with an injected, typed fault; the score is the odds of any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from daemon.core.records import F32
from training.history import examples
from training.history.examples import Examples, Known
from training.network import architectures
from training.network.layers import Cost, Preset
from training.network.normalising import FitNormaliser, Normaliser

#: What divides the log odds in the score of a model for any sensor. -log P(normal) itself spans e^-10 to 1 on normal
#: windows and ends near 20 on the plainest fault, which leaves a threshold in the log domain no room. Alarm onsets per
#: point without a fault, of 1e-5 allowed, and shows that went well, by temperature: 3: 2.5e-5, 87 %; 5: 1.7e-5, 97 %;
#: 8: .8e-5, 98 %; 12: .6e-5, 98 %; 20: none, 97 % (30 and 60 shows of the demo's kind). A model fitted on a plant's own
#: history is far less sure of itself and keeps 1.
TEMPERATURE = 14.0
BATCH = 1024
NOISE_FLOOR = 0.1  # the score of odds e^31 to 1 for normal, beyond what training can tell


def score(logits: Any, normal: int, temperature: float = 1.0) -> Any:
    """Return the raw score, (N,), from logits (N, K): softplus(z / temperature), z the log odds of "not normal".

    At temperature 1 this is -log P(normal): softplus(logsumexp over the others of (l_k - l_n)) = -log softmax_n(l).
    Taken from the logits it is exact where P is near 0 or 1, and has no ceiling.
    """
    import tensorflow as tf

    apart = tf.concat([logits[:, :normal], logits[:, normal + 1 :]], axis=1) - logits[:, normal : normal + 1]
    top = tf.reduce_max(apart, axis=1, keepdims=True)
    odds = top[:, 0] + tf.math.log(tf.reduce_sum(tf.exp(apart - top), axis=1))
    return tf.nn.softplus(odds / temperature)


def graph(network: Any, normaliser: Normaliser, normal: int, temperature: float = 1.0) -> Any:
    """Return the whole graph as a tf.function: raw windows (N, W, C) -> {"score", "class_probability"}.

    What a FitNormaliser cuts off is added to the score, which so has no ceiling for sensors that the model knows. A
    WindowNormaliser measures a window by itself: there a fault 50 times as large as the context's reach is the largest.
    """
    import tensorflow as tf

    logits_of = to_logits(network)
    shape = [None, *network.input_shape[1:]]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="window")])  # type: ignore[untyped-decorator]
    def run(window: Any) -> dict[str, Any]:
        logits = logits_of(normaliser(window), training=False)
        found = score(logits, normal, temperature)
        if isinstance(normaliser, FitNormaliser):
            found = found + normaliser.beyond(window)
        return {"score": found, "class_probability": tf.nn.softmax(logits)}

    return run


def to_logits(network: Any) -> Any:
    """Return the network up to its logits: normalised windows -> (N, K)."""
    import keras

    return keras.Model(network.inputs, network.get_layer("logits").output)


@dataclass(frozen=True, slots=True)
class Faults:
    """Windows with and without an injected fault, told apart by class."""

    name: str = "faults"
    about: str = "normal windows against windows with injected faults of eight types"
    labelled: bool = True
    loss: Any = "sparse_categorical_crossentropy"

    def normaliser(self, rows: F32) -> FitNormaliser:
        """See Head."""
        return FitNormaliser.of(rows)

    def examples(self, rows: F32, window: int, count: int, rng: np.random.Generator, usual: FitNormaliser) -> Examples:
        """See Head: half of them with a fault."""
        return examples.draw(rows, window, count // 2, count // 2, rng, known=Known(usual.mean, usual.sd))

    def cost(self, preset: Preset, classes: int, window: int, channels: int) -> Cost:
        """See Head."""
        return architectures.cost(preset, classes, window, channels)

    def build(self, preset: Preset, classes: int, window: int, channels: int, rows: int = 0) -> Any:
        """See Head."""
        return architectures.build(preset, classes, window, channels)

    def reach(self, network: Any, normaliser: Any, x: F32) -> F32:
        """See Head: the largest logit, of which log odds are differences."""
        logits_of = to_logits(network)
        parts = [logits_of(normaliser(x[n : n + BATCH]), training=False) for n in range(0, len(x), BATCH)]
        size: F32 = np.concatenate([np.abs(np.asarray(part)).max(axis=1) for part in parts])
        return size

    def graph(self, network: Any, normaliser: Any, check: F32, normal: int) -> Any:
        """See Head; at temperature 1, and `check` is of no account."""
        return graph(network, normaliser, normal)


HEAD = Faults()
