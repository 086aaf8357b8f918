"""Normal windows that a model remembers: drawn from the fitting rows, and how far a window lies from each."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import NodeProto

from daemon.core.records import F32, F64, I64
from training.baselines import graph
from training.baselines.graph import Normal, node


def remember(normal: Normal, window: int, seed: int, most: int) -> F64:
    """Return at most `most` of the fitting rows' windows, normalised and flat, (M, W C); `seed` draws them."""
    chosen = np.random.default_rng([seed, 11]).permutation(count(normal, window))[:most]
    chosen.sort()
    found = take(normal, window, chosen)
    return normal.normalise(found).reshape(len(found), -1).astype(np.float64)


def count(normal: Normal, window: int) -> int:
    """Return how many windows the fitting rows have."""
    return sum(len(part) - window + 1 for part in normal.fit)


def take(normal: Normal, window: int, chosen: I64) -> F32:
    """Return some of the fitting rows' windows, as they are, (M, W, C); chosen: (M,), counted over all segments."""
    cuts = [graph.windows(part, window) for part in normal.fit]
    starts = np.cumsum([0, *map(len, cuts)])
    of = np.searchsorted(starts, chosen, side="right") - 1
    return np.stack([cuts[k][at - starts[k]] for k, at in zip(of.tolist(), chosen.tolist(), strict=True)])


def distances(memory: F64) -> tuple[list[NodeProto], dict[str, Any]]:
    """Return the nodes from "normalised" to "squared_distances" (N, M) to what is remembered, and their constants.

    Distances are taken around the memory's centre: |x|^2 - 2 x.m + |m|^2 cancels in float32, and less near zero.
    """
    centre = memory.mean(axis=0)
    around = memory - centre
    nodes = [
        node("Flatten", "normalised", "flat", axis=1),
        node("Sub", "flat centre", "apart"),
        node("Mul", "apart apart", "squares"),
        node("ReduceSum", "squares along", "own", keepdims=1),
        node("MatMul", "apart memory", "products"),
        node("Add", "products lengths", "others"),
        node("Add", "others own", "unclipped"),
        node("Max", "unclipped nothing", "squared_distances"),
    ]
    constants = {
        "centre": centre.astype(np.float32),
        "along": np.array([1]),
        "memory": np.ascontiguousarray(-2 * around.T, np.float32),
        "lengths": np.square(around).sum(axis=1).astype(np.float32),
        "nothing": np.float32(0),
    }
    return nodes, constants
