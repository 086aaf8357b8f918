"""What a head is, to the recipe that fits it and to the tests that hold every head against the same promises."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from daemon.core.records import F32
from training.history.examples import Examples
from training.network.layers import Cost, Preset
from training.network.normalising import FitNormaliser, StandardNormaliser


class Head(Protocol):
    """What stands behind a trunk and makes its score: see the text of training.network.heads for the promises."""

    @property
    def name(self) -> str:
        """Return what the card and --head call it."""

    @property
    def about(self) -> str:
        """Return what it learns, in one line."""

    @property
    def labelled(self) -> bool:
        """Return whether its examples have classes, and the graph an output class_probability."""

    @property
    def loss(self) -> Any:
        """Return what Keras takes as a loss."""

    def normaliser(self, rows: F32) -> FitNormaliser | StandardNormaliser:
        """Return the normalisation by a plant's own normal rows, (n, C), which becomes part of the graph."""

    def examples(self, rows: F32, window: int, count: int, rng: np.random.Generator, usual: FitNormaliser) -> Examples:
        """Return about `count` windows to learn from, out of one stretch of normal rows, in raw units."""

    def cost(self, preset: Preset, classes: int, window: int, channels: int) -> Cost:
        """Return what one window costs with this head. Raises ConfigError where the window is too short."""

    def build(self, preset: Preset, classes: int, window: int, channels: int, rows: int = 0) -> Any:
        """Return the Keras model that `loss` is taken of: from normalised windows (N, W, C), the trunk within.

        rows: of how many normal rows the examples are; few are easily learnt by heart.
        """

    def reach(self, network: Any, normaliser: Any, x: F32) -> F32:
        """Return, (N,), the size of what the scores of raw windows x are differences of.

        float32's rounding grows with it, so an export may be that much farther from Keras.
        """

    def graph(self, network: Any, normaliser: Any, check: F32, normal: int) -> Any:
        """Return the tf.function that is exported: raw windows -> {"score": (N,), ...}, all of the model contract.

        check: normal windows in raw units that were not fitted, for scales. normal: the normal class's number.
        """
