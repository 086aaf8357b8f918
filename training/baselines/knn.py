"""Nearest neighbours: the mean distance of a window to the three nearest of some normal ones, all sensors together.

Nothing is trained. Source: Ramaswamy, Rastogi & Shim (2000), with the mean in place of the k-th.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from training.baselines import graph, memory
from training.baselines.graph import Normal, node
from training.history.data import History

MOST = 500  # normal windows that are remembered
NEAREST = 3


def fit(series: Sequence[History], window: int, seed: int, file: Path) -> None:
    """Write the model of these series' normal rows; `seed` draws the windows to remember.

    Raises DataError where there are fewer than four windows of rows.
    """
    normal = Normal.of(series, window)
    known = memory.remember(normal, window, seed, MOST)
    scaled, scale = graph.normalised(normal)
    apart, constants = memory.distances(known)
    nodes = [
        *scaled,
        *apart,
        node("TopK", "squared_distances nearest", "near ranks", axis=1, largest=0, sorted=0),
        node("Sqrt", "near", "roots"),
        node("ReduceMean", "roots", "score", axes=[1], keepdims=0),
    ]
    constants |= scale | {"nearest": np.array([min(NEAREST, len(known))])}
    graph.write(file, "knn", window, normal, series, nodes, constants, macs=known.size)
