"""Joint whitening: how far a window lies from the normal ones, by their covariance over all sensors and rows.

Nothing is trained. Source: Mahalanobis (1936); the floor on the eigenvalues is what makes it work where there are
fewer windows than dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from daemon.core.records import F64
from training.baselines import covariance, graph
from training.baselines.graph import Normal, node
from training.history.data import History


def last_rows(window: int, channels: int) -> int:
    """Return how many of a window's newest rows are looked at: with many sensors few rows say enough."""
    return max(1, round(window / math.sqrt(channels)))


def fit(series: Sequence[History], window: int, seed: int, file: Path) -> None:
    """Write the model of these series' normal rows; `seed` is of no account.

    score: the Mahalanobis distance. channel_score: each channel's share of its square. Raises DataError where there
    are fewer than four windows of rows.
    """
    normal = Normal.of(series, window)
    channels = len(normal.mean)
    rows = last_rows(window, channels)
    centre, whiten = whitener(normal, rows)
    nodes, constants = graph.normalised(normal)
    nodes += [
        node("Slice", "normalised from to along", "newest"),
        node("Flatten", "newest", "flat", axis=1),
        node("Sub", "flat centre", "apart"),
        node("MatMul", "apart whiten", "white"),
        node("Mul", "white white", "squares"),
        node("ReduceSum", "squares along", "square", keepdims=0),
        node("Sqrt", "square", "score"),
        node("MatMul", "white whiten_back", "pull"),
        node("Mul", "apart pull", "shares"),
        node("MatMul", "shares of_channel", "channel_score"),
    ]
    constants |= {
        "from": np.array([window - rows]),
        "to": np.array([window]),
        "along": np.array([1]),
        "centre": centre.astype(np.float32),
        "whiten": whiten.astype(np.float32),
        "whiten_back": np.ascontiguousarray(whiten.T, np.float32),
        "of_channel": np.tile(np.eye(channels, dtype=np.float32), (rows, 1)),
    }
    size = rows * channels
    macs = 2 * size * size + size * channels
    graph.write(file, "whitening", window, normal, series, nodes, constants, macs=macs, sees=rows)


def whitener(normal: Normal, rows: int) -> tuple[F64, F64]:
    """Return (centre, whiten) of the newest `rows` rows of normal windows, as training.baselines.covariance does."""
    return covariance.whitener(graph.windows(normal.normalise(part), rows) for part in normal.fit)
