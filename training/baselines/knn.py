"""Nearest neighbours: the mean distance of a window to the three nearest of some normal ones, all sensors together.

Nothing is trained. Source: Ramaswamy, Rastogi & Shim (2000), with the mean in place of the k-th.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from daemon.core.records import F64
from training.baselines import graph
from training.baselines.graph import Normal, node
from training.history.data import History

MOST = 500  # normal windows that are remembered
NEAREST = 3


def fit(series: Sequence[History], window: int, seed: int, file: Path) -> None:
    """Write the model of these series' normal rows; `seed` draws the windows to remember.

    Raises DataError where there are fewer than four windows of rows.
    """
    normal = Normal.of(series, window)
    channels = len(normal.mean)
    memory = remember(normal, window, seed)
    # distances are taken around the memory's centre: |x|^2 - 2 x.m + |m|^2 cancels in float32, and less near zero
    centre = memory.mean(axis=0)
    memory = memory - centre
    nodes, constants = graph.normalised(normal)
    nodes += [
        node("Flatten", "normalised", "flat", axis=1),
        node("Sub", "flat centre", "apart"),
        node("Mul", "apart apart", "squares"),
        node("ReduceSum", "squares along", "own", keepdims=1),
        node("MatMul", "apart memory", "products"),
        node("Add", "products lengths", "others"),
        node("Add", "others own", "unclipped"),
        node("Max", "unclipped nothing", "distances"),
        node("TopK", "distances nearest", "near ranks", axis=1, largest=0, sorted=0),
        node("Sqrt", "near", "roots"),
        node("ReduceMean", "roots", "score", axes=[1], keepdims=0),
    ]
    constants |= {
        "centre": centre.astype(np.float32),
        "along": np.array([1]),
        "memory": np.ascontiguousarray(-2 * memory.T, np.float32),
        "lengths": np.square(memory).sum(axis=1).astype(np.float32),
        "nothing": np.float32(0),
        "nearest": np.array([min(NEAREST, len(memory))]),
    }
    graph.write(
        file,
        graph.model_of("knn", window, channels, nodes, constants, by_channel=False),
        normal,
        series,
        name=file.stem[:128],
        window=window,
        head="knn",
        parameters=memory.size + 2 * channels,
        macs=memory.size,
        receptive_field=window,
    )


def remember(normal: Normal, window: int, seed: int) -> F64:
    """Return at most MOST of the fitting rows' windows, normalised and flat, (M, W C)."""
    cuts = [graph.windows(part, window) for part in normal.fit]
    starts = np.cumsum([0, *map(len, cuts)])
    chosen = np.random.default_rng([seed, 11]).permutation(starts[-1])[:MOST]
    chosen.sort()
    of = np.searchsorted(starts, chosen, side="right") - 1
    found = np.stack([cuts[k][at - starts[k]] for k, at in zip(of.tolist(), chosen.tolist(), strict=True)])
    return normal.normalise(found).reshape(len(found), -1).astype(np.float64)
