"""Head `reconstruct`: an autoencoder; the score is how badly a window is rebuilt from few numbers.

Source: plain autoencoder score, each row and channel measured by its own usual residual.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from daemon.core.records import F32
from training.network import layers
from training.network.heads import residual
from training.network.heads.residual import Residual
from training.network.layers import Cost, Layer, Preset

DECODER = 128  # units between the code and the rebuilt window


def code(window: int, channels: int) -> int:
    """Return how many numbers a window is rebuilt from: an eighth of its values, 4 to 64."""
    return min(max(window * channels // 8, 4), 64)


@dataclass(frozen=True, slots=True)
class Reconstruct(Residual):
    """Residual per channel and per row of the window."""

    name: str = "reconstruct"
    about: str = "the whole window, rebuilt from an eighth of its values or fewer"

    def cost(self, preset: Preset, classes: int, window: int, channels: int) -> Cost:
        """See Head; `classes` is of no account."""
        behind = (Layer("dense", code(window, channels)), Layer("dense", DECODER))
        return layers.cost(replace(preset, layers=preset.layers + behind), window * channels, window, channels)

    def build(self, preset: Preset, classes: int, window: int, channels: int, rows: int = 0) -> Any:
        """See Head."""
        import keras

        inputs = keras.Input((window, channels), name="normalised")
        features = layers.trunk(preset, residual.bounded(inputs))
        few = keras.layers.Dense(code(window, channels), name="code")(features)
        flat = keras.layers.Dense(window * channels)(keras.layers.Dense(DECODER, activation="relu")(few))
        apart = inputs - keras.layers.Reshape((window, channels))(flat)
        return keras.Model(inputs, apart, name=f"reconstruct-{preset.name}")

    def graph(self, network: Any, normaliser: Any, check: F32, normal: int = 0) -> Any:
        """See Head."""
        return residual.graph(
            network, normaliser, check, np.full((check.shape[1], 1), residual.LEAST_SCALE, np.float32)
        )


HEAD = Reconstruct()
