"""The Conv1D network of the fused head: fitted to tell normal windows from those with an injected fault.

Its embedding, held against a memory of normal ones, is one view; the log odds of any fault are another. That it also
says which channel is faulty is for its own good only: without that it learns nothing on many channels.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from daemon.core.records import F32
from training.fused import faulty, parts
from training.network import layers, progress
from training.network.layers import Preset

EMBEDDING = 64


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to fit: steps, and windows drawn for each."""

    steps: int = 500
    batch: int = 256
    rate: float = 2e-3


@dataclass(frozen=True, slots=True)
class Encoder:
    """A fitted network over windows of `rows`."""

    network: Any
    rows: int

    def odds(self, x: Any) -> Any:
        """Return softplus of the log odds of any fault, (N,). x: (N, rows, C) normalised."""
        import tensorflow as tf

        return tf.nn.softplus(self._outputs(x)[1][:, 0])

    def embedding(self, x: Any) -> Any:
        """Return (N, EMBEDDING)."""
        return self._outputs(x)[0]

    def _outputs(self, x: Any) -> Any:
        import tensorflow as tf

        return self.network(tf.asinh(x), training=False)


@dataclass(frozen=True, slots=True)
class Odds:
    """The log odds of any injected fault, as a part."""

    encoder: Encoder
    name: str = "fault odds"

    @property
    def rows(self) -> int:
        """See Part."""
        return self.encoder.rows

    def distance(self, x: Any) -> Any:
        """See Part."""
        return self.encoder.odds(x)


@dataclass(frozen=True, slots=True)
class Embedded:
    """The nearest normal embeddings, as a part. centre: (E,); memory: (M, E) around it."""

    encoder: Encoder
    centre: F32
    memory: F32
    name: str = "embedded"

    @classmethod
    def of(cls, encoder: Encoder, x: F32, seed: int) -> Embedded:
        """Remember normal windows x, (N, rows, C)."""
        known = np.asarray(encoder.embedding(x[parts.drawn(len(x), seed)]), np.float64)
        centre = known.mean(axis=0)
        return cls(encoder, centre.astype(np.float32), (known - centre).astype(np.float32))

    @property
    def rows(self) -> int:
        """See Part."""
        return self.encoder.rows

    def distance(self, x: Any) -> Any:
        """See Part."""
        return parts.nearest(self.encoder.embedding(x) - self.centre, self.memory)


def fit(
    cuts: F32,
    seed: int,
    effort: Effort,
    preset: Preset,
    say: Callable[[str], None] = lambda line: None,
) -> Encoder:
    """Fit a trunk on normalised normal windows, (M, rows, C), which may be a view."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng([seed, 13])
    network = build(cuts.shape[1], cuts.shape[2], preset)
    warm = effort.steps // 4
    rate = keras.optimizers.schedules.CosineDecay(
        effort.rate / 10, effort.steps - warm, warmup_target=effort.rate, warmup_steps=warm
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=1e-3)
    optimizer.build(network.trainable_variables)
    lossy = keras.losses.BinaryCrossentropy(from_logits=True)

    @tf.function  # type: ignore[untyped-decorator]
    def step(x: Any, faulty: Any) -> None:
        with tf.GradientTape() as tape:
            _, odds, channels = network(tf.asinh(x), training=True)
            loss = lossy(tf.reduce_max(faulty, axis=1, keepdims=True), odds) + lossy(faulty, channels)
        optimizer.apply(tape.gradient(loss, network.trainable_variables), network.trainable_variables)

    began = time.monotonic()
    for done in range(1, effort.steps + 1):
        batch = faulty.draw(cuts, effort.batch, rng)
        step(batch.x, batch.faulty)
        if done % max(1, effort.steps // 5) == 0:
            left = (time.monotonic() - began) / done * (effort.steps - done)
            say(f"network: step {done}/{effort.steps} left={progress.clock(left)}")
    return Encoder(network, cuts.shape[1])


def build(rows: int, channels: int, preset: Preset) -> Any:
    """Return the Keras model: (N, rows, C) -> embedding (N, E), log odds of any fault (N, 1) and per channel (N, C).

    Raises ConfigError where the rows are too few for the trunk.
    """
    import keras

    start = keras.Input((rows, channels))
    embedding = keras.layers.Dense(EMBEDDING)(layers.trunk(preset, start))
    bent = keras.layers.ReLU()(embedding)
    return keras.Model(start, [embedding, keras.layers.Dense(1)(bent), keras.layers.Dense(channels)(bent)])
