"""Principal components: how far a window lies from the subspace that holds most of the normal ones' variance.

The squared prediction error, or Q: Jackson & Mudholkar (1979). Of each sensor's window on its own (Sub-PCA), or of all
sensors and their newest rows together: dynamic PCA, Ku, Storer & Georgakis (1995).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from daemon.core.records import F64
from training.baselines import covariance, graph, whitening
from training.baselines.graph import Normal, node
from training.history.data import History

KEPT = 0.9  # of the variance, by the fewest components that hold it


def each(series: Sequence[History], window: int, seed: int, file: Path) -> None:
    """Write the model of each sensor's own windows; `seed` is of no account.

    channel_score: a sensor's squared error; score: the root of all sensors' mean. Raises DataError where there are
    fewer than four windows of rows.
    """
    normal = Normal.of(series, window)
    channels = len(normal.mean)
    known = [normal.normalise(part) for part in normal.fit]
    found = [
        outside(*covariance.of(graph.windows(part[:, c : c + 1], window) for part in known)) for c in range(channels)
    ]
    nodes, constants = graph.normalised(normal)
    nodes += [
        node("Transpose", "normalised", "by_channel", perm=[2, 0, 1]),
        node("Sub", "by_channel centre", "apart"),
        node("MatMul", "apart outside", "rest"),
        node("Mul", "rest rest", "squares"),
        node("ReduceSum", "squares last", "errors", keepdims=0),
        node("Transpose", "errors", "channel_score", perm=[1, 0]),
        node("ReduceMean", "channel_score", "square", axes=[1], keepdims=0),
        node("Sqrt", "square", "score"),
    ]
    constants |= {
        "last": np.array([2]),
        "centre": np.stack([centre for centre, _ in found])[:, None].astype(np.float32),
        "outside": np.stack([rest for _, rest in found]).astype(np.float32),
    }
    graph.write(file, "sub-pca", window, normal, series, nodes, constants, macs=channels * window**2)


def joint(series: Sequence[History], window: int, seed: int, file: Path) -> None:
    """Write the model of all sensors' newest rows, as many as whitening takes; `seed` is of no account.

    channel_score: what of the squared error is in each sensor's rows; score: the root of all. Raises DataError where
    there are fewer than four windows of rows.
    """
    normal = Normal.of(series, window)
    channels = len(normal.mean)
    rows = whitening.last_rows(window, channels)
    centre, rest = outside(*covariance.of(graph.windows(normal.normalise(part), rows) for part in normal.fit))
    nodes, constants = graph.normalised(normal)
    nodes += [
        node("Slice", "normalised from to along", "newest"),
        node("Flatten", "newest", "flat", axis=1),
        node("Sub", "flat centre", "apart"),
        node("MatMul", "apart outside", "rest"),
        node("Mul", "rest rest", "squares"),
        node("MatMul", "squares of_channel", "channel_score"),
        node("ReduceSum", "squares along", "square", keepdims=0),
        node("Sqrt", "square", "score"),
    ]
    constants |= {
        "from": np.array([window - rows]),
        "to": np.array([window]),
        "along": np.array([1]),
        "centre": centre.astype(np.float32),
        "outside": rest.astype(np.float32),
        "of_channel": np.tile(np.eye(channels, dtype=np.float32), (rows, 1)),
    }
    size = rows * channels
    macs = size * size + size * channels
    graph.write(file, "joint-pca", window, normal, series, nodes, constants, macs=macs, sees=rows)


def outside(centre: F64, spread: F64) -> tuple[F64, F64]:
    """Return the centre and what takes a vector to its part outside the principal subspace, (D, D).

    centre: (D,); spread: (D, D), the covariance. At least one direction is outside; all where nothing varies.
    """
    values, vectors = np.linalg.eigh(spread)
    values = np.maximum(values[::-1], 0.0)
    total = values.sum()
    held = int(np.searchsorted(np.cumsum(values), KEPT * total)) + 1 if total > 0 else 0
    kept = vectors[:, ::-1][:, : min(held, len(values) - 1)]
    return centre, np.eye(len(centre)) - kept @ kept.T
