"""Control charts of every sensor on its own: Shewhart's, on the newest row, and the moving average that forgets.

An asset is as far out as its worst sensor: charts side by side signal where any of them does (Woodall & Ncube 1985).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from daemon.core.records import F64
from training.baselines import graph
from training.baselines.graph import LARGEST, Normal, node
from training.history.data import History

FORGETTING = 0.2  # lambda; .05 to .25 is usual (Lucas & Saccucci 1990), .2 the textbooks' example


def zscore(series: Sequence[History], window: int, seed: int, file: Path) -> None:
    """Write Shewhart's chart (1931): how many spreads the newest row lies from the mean; `seed` is of no account.

    channel_score: each sensor's; score: the largest. Raises DataError where there are fewer than four windows of rows.
    """
    _write("zscore", np.array([1.0]), series, window, file)


def ewma(series: Sequence[History], window: int, seed: int, file: Path) -> None:
    """Write the EWMA chart (Roberts 1959), begun at the mean with each window; `seed` is of no account.

    channel_score: the average in its own spreads, as if rows were independent; score: the largest. Raises DataError
    where there are fewer than four windows of rows.
    """
    _write("ewma", weights(window), series, window, file)


def weights(window: int) -> F64:
    """Return the weight of each row, oldest first, (W,): the average of independent rows has a spread of one."""
    age = np.arange(window)[::-1]
    found = FORGETTING * (1 - FORGETTING) ** age
    return np.asarray(found / np.sqrt(np.square(found).sum()))


def _write(head: str, weight: F64, series: Sequence[History], window: int, file: Path) -> None:
    """Write |weighted sum of the newest rows|, normalised; weight: (rows,), oldest first."""
    normal = Normal.of(series, window)
    rows = len(weight)
    nodes, constants = graph.normalised(normal, LARGEST)
    nodes += [
        node("Slice", "normalised from to along", "newest"),
        node("Mul", "newest weight", "weighted"),
        node("ReduceSum", "weighted along", "sum", keepdims=0),
        node("Abs", "sum", "channel_score"),
        node("ReduceMax", "channel_score", "score", axes=[1], keepdims=0),
    ]
    constants |= {
        "from": np.array([window - rows]),
        "to": np.array([window]),
        "along": np.array([1]),
        "weight": weight.astype(np.float32)[None, :, None],
    }
    macs = rows * len(normal.mean)
    graph.write(file, head, window, normal, series, nodes, constants, macs=macs, sees=rows)
