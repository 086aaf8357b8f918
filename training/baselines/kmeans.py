"""k-means: the distance of a window to the nearest of a few typical ones, all sensors together.

Sources: Yairi, Kato & Hori (2001), k-means on windows of telemetry; k-means++ seeding by Arthur & Vassilvitskii (2007);
20 clusters as in TSB-AD's KMeansAD (Liu & Paparrizos 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from daemon.core.records import F64
from training.baselines import graph, memory
from training.baselines.graph import Normal, node
from training.history.data import History

CLUSTERS = 20
MOST = 4096  # windows that are clustered
ROUNDS = 50  # at most; it mostly settles after 10 to 30
ROUNDING = 1e-12  # of the squares that a distance is the difference of


def fit(series: Sequence[History], window: int, seed: int, file: Path) -> None:
    """Write the model of these series' normal rows; `seed` draws windows and first centres.

    Raises DataError where there are fewer than four windows of rows.
    """
    normal = Normal.of(series, window)
    found = centres(memory.remember(normal, window, seed, MOST), CLUSTERS, seed)
    scaled, scale = graph.normalised(normal)
    apart, constants = memory.distances(found)
    nodes = [
        *scaled,
        *apart,
        node("ReduceMin", "squared_distances", "nearest", axes=[1], keepdims=0),
        node("Sqrt", "nearest", "score"),
    ]
    graph.write(file, "kmeans", window, normal, series, nodes, constants | scale, macs=found.size)


def centres(known: F64, count: int, seed: int) -> F64:
    """Return at most `count` centres, (K, D), of points (M, D): k-means++, then Lloyd's rounds until nothing moves."""
    rng = np.random.default_rng([seed, 12])
    found = [known[rng.integers(len(known))]]
    left = _squared(known, found[0][None])[:, 0]
    while len(found) < count and left.max() > 0:
        found.append(known[rng.choice(len(known), p=left / left.sum())])
        left = np.minimum(left, _squared(known, found[-1][None])[:, 0])
    middle = np.stack(found)
    for _ in range(ROUNDS):
        of = _squared(known, middle).argmin(axis=1)
        members = np.zeros((len(middle), len(known)))
        members[of, np.arange(len(known))] = 1
        counts = members.sum(axis=1, keepdims=True)
        moved = np.where(counts > 0, members @ known / np.maximum(counts, 1), middle)
        if np.array_equal(moved, middle):
            break
        middle = moved
    return middle


def _squared(points: F64, others: F64) -> F64:
    """Return the squared distances of points (M, D) to others (K, D), (M, K); 0.0 of what is equal but for rounding."""
    sizes = np.square(points).sum(axis=1)[:, None] + np.square(others).sum(axis=1)
    apart = sizes - 2 * points @ others.T
    return np.where(apart > ROUNDING * sizes, apart, 0.0)
