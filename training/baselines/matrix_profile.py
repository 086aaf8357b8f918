"""Matrix profile: the distance of each sensor's newest window, by shape alone, to the nearest normal one.

A left discord: Yeh et al. (2016), for several sensors their mean (Yeh, Kavantzas & Keogh 2017). Windows are compared
z-normalised, so level and size do not count. A model file cannot hold all of a long history: it has windows evenly
spread over it, and all of a short one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from daemon.core.records import F64
from training.baselines import graph, memory
from training.baselines.graph import Normal, node
from training.history.data import History

MOST = 1024  # windows that are remembered
STILL = 1e-3  # of a sensor's spread; a window that moves less has no shape
FARTHEST = 1e6  # spreads


def fit(series: Sequence[History], window: int, seed: int, file: Path) -> None:
    """Write the model of these series' normal rows; `seed` is of no account.

    channel_score: each sensor's distance, at most 2 sqrt(W); score: their mean. A window without a shape is at 0 from
    another such, and at sqrt(W) from any other. Raises DataError where there are fewer than four windows of rows.
    """
    normal = Normal.of(series, window)
    known = remember(normal, window)
    nodes, constants = graph.normalised(normal, FARTHEST)
    nodes += [
        node("Transpose", "normalised", "by_channel", perm=[2, 0, 1]),
        node("Slice", "by_channel zero one last", "first"),
        node("Sub", "by_channel first", "from_first"),  # so that a constant one is 0 whatever its level
        node("ReduceMean", "from_first", "level", axes=[2], keepdims=1),
        node("Sub", "from_first level", "swing"),
        node("Mul", "swing swing", "swings"),
        node("ReduceMean", "swings", "variance", axes=[2], keepdims=1),
        node("Sqrt", "variance", "spread"),
        node("Max", "spread still", "unit"),
        node("Div", "swing unit", "shape"),
        node("Mul", "shape shape", "shapes"),
        node("ReduceSum", "shapes last", "own", keepdims=1),
        node("MatMul", "shape memory", "products"),
        node("Add", "products lengths", "others"),
        node("Add", "others own", "unclipped"),
        node("ReduceMin", "unclipped", "least", axes=[2], keepdims=0),
        node("Max", "least nothing", "square"),
        node("Sqrt", "square", "distance"),
        node("Transpose", "distance", "channel_score", perm=[1, 0]),
        node("ReduceMean", "channel_score", "score", axes=[1], keepdims=0),
    ]
    constants |= {
        "zero": np.array([0]),
        "one": np.array([1]),
        "last": np.array([2]),
        "still": np.float32(STILL),
        "memory": np.ascontiguousarray(-2 * known.swapaxes(1, 2), np.float32),
        "lengths": np.square(known).sum(axis=2)[:, None].astype(np.float32),
        "nothing": np.float32(0),
    }
    graph.write(file, "matrix-profile", window, normal, series, nodes, constants, macs=known.size)


def remember(normal: Normal, window: int) -> F64:
    """Return the shapes of at most MOST windows of the fitting rows, (C, M, W)."""
    windows = memory.count(normal, window)
    chosen = np.unique(np.linspace(0, windows - 1, min(MOST, windows)).astype(np.int64))
    found = memory.take(normal, window, chosen)
    z = ((found.astype(np.float64) - normal.mean) / normal.sd).transpose(2, 0, 1)
    swing = z - z.mean(axis=2, keepdims=True)
    return np.asarray(swing / np.maximum(swing.std(axis=2, keepdims=True), STILL))
