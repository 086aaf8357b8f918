"""Head `forecast`: the newest rows as the older ones let expect them; the score is how far off they are.

A fault is scored while it is among the newest eighth of the window: with a hop of no more, every row is once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from daemon.core.records import F32
from training.network import layers
from training.network.heads import residual
from training.network.heads.residual import Residual
from training.network.layers import Cost, Preset


def horizon(window: int) -> int:
    """Return how many of a window's newest rows are forecast."""
    return max(1, window // 8)


@dataclass(frozen=True, slots=True)
class Forecast(Residual):
    """Residual per channel and step. What lies beyond REACH in the older rows counts too: they cannot hide a fault."""

    name: str = "forecast"
    about: str = "the newest eighth of a window, forecast from the rest"

    def cost(self, preset: Preset, classes: int, window: int, channels: int) -> Cost:
        """See Head; `classes` is of no account."""
        return layers.cost(preset, horizon(window) * channels, window, channels)

    def build(self, preset: Preset, classes: int, window: int, channels: int, rows: int = 0) -> Any:
        """See Head. The trunk sees the older rows behind as many zeros as are forecast, so its length stays W."""
        import keras

        ahead = horizon(window)
        inputs = keras.Input((window, channels), name="normalised")
        older, newest = inputs[:, :-ahead], inputs[:, -ahead:]
        seen = keras.layers.ZeroPadding1D((ahead, 0))(residual.shown(older, rows))
        flat = keras.layers.Dense(ahead * channels, name="forecast")(residual.features(preset, seen, rows))
        apart = newest - keras.layers.Reshape((ahead, channels))(flat)
        beyond = keras.ops.relu(keras.ops.abs(older) - residual.REACH)
        return keras.Model(inputs, keras.ops.concatenate([beyond, apart], axis=1), name=f"forecast-{preset.name}")

    def graph(self, network: Any, normaliser: Any, check: F32, normal: int = 0) -> Any:
        """See Head."""
        window = check.shape[1]
        floor = np.full((window, 1), 1.0, np.float32)
        floor[-horizon(window) :] = residual.LEAST_SCALE
        return residual.graph(network, normaliser, check, floor)


HEAD = Forecast()
