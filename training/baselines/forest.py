"""Isolation forest: how few random cuts set a window apart from normal ones, all sensors together.

Source: Liu, Ting & Zhou (2008), with their 100 trees of 256 windows each. Theirs is 2^(-mean depth / usual depth),
between 0 and 1; ours is 2^(usual depth - mean depth), which ranks the same and is 1 of a usual window: the calibration
compares by ratios, and theirs hardly has any. It has a ceiling all the same: what is far outside is set apart no sooner
than what is just outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from onnx import NodeProto, helper

from daemon.core.records import F64
from training.baselines import graph, memory
from training.baselines.graph import Normal, node
from training.history.data import History

TREES = 100
SAMPLE = 256  # windows of each tree
MOST = 8192  # windows that they are drawn from
EULER = 0.5772156649


@dataclass(slots=True)
class Tree:
    """Nodes in order, the root first. feature: -1 of a leaf; cut: up to it is left; depth: of a leaf, as it counts."""

    feature: list[int] = field(default_factory=list)
    cut: list[float] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    right: list[int] = field(default_factory=list)
    depth: list[float] = field(default_factory=list)

    def grow(self, x: F64, depth: int, deepest: int, rng: np.random.Generator) -> int:
        """Add the nodes that set the points (n, D) apart; return the number of the first."""
        me = len(self.feature)
        for column in (self.feature, self.cut, self.left, self.right, self.depth):
            column.append(0)
        low, high = x.min(axis=0), x.max(axis=0)
        varied = np.flatnonzero(low < high)
        if depth == deepest or not len(varied):
            self.feature[me], self.depth[me] = -1, depth + usual_depth(len(x))
            return me
        at = int(varied[rng.integers(len(varied))])
        # a float32 below the highest, so that neither side is empty in the graph either
        below = np.nextafter(np.float32(high[at]), np.float32(low[at]))
        cut = float(min(max(np.float32(rng.uniform(low[at], high[at])), np.float32(low[at])), below))
        self.feature[me], self.cut[me] = at, cut
        here = x[:, at] <= cut
        self.left[me] = self.grow(x[here], depth + 1, deepest, rng)
        self.right[me] = self.grow(x[~here], depth + 1, deepest, rng)
        return me


def fit(series: Sequence[History], window: int, seed: int, file: Path) -> None:
    """Write the model of these series' normal rows; `seed` draws windows and cuts.

    score: 2^(usual depth - mean depth). Raises DataError where there are fewer than four windows of rows.
    """
    normal = Normal.of(series, window)
    known = memory.remember(normal, window, seed, MOST)
    trees, sample = grow(known, seed)
    nodes, constants = graph.normalised(normal)
    nodes += [
        node("Flatten", "normalised", "flat", axis=1),
        _ensemble(trees),
        node("Sub", "usual depth", "sooner"),
        node("Pow", "two sooner", "column"),
        node("Squeeze", "column along", "score"),
    ]
    constants |= {
        "usual": np.float32(usual_depth(sample)),
        "two": np.float32(2),
        "along": np.array([1]),
    }
    cuts = sum(len(tree.feature) for tree in trees)
    graph.write(file, "isolation-forest", window, normal, series, nodes, constants, macs=0, cuts=cuts)


def grow(known: F64, seed: int) -> tuple[list[Tree], int]:
    """Return the trees of points (M, D), float32 values as the graph has them, and how many points each is of."""
    rng = np.random.default_rng([seed, 13])
    sample = min(SAMPLE, len(known))
    trees = []
    for _ in range(TREES):
        trees.append(Tree())
        trees[-1].grow(known[rng.permutation(len(known))[:sample]], 0, int(np.ceil(np.log2(sample))), rng)
    return trees, sample


def usual_depth(count: int) -> float:
    """Return c(n), how deep a search in a random tree of n points goes when it finds nothing."""
    if count < 2:
        return 0.0
    return 2 * (np.log(count - 1) + EULER) - 2 * (count - 1) / count if count > 2 else 1.0


def _ensemble(trees: Sequence[Tree]) -> NodeProto:
    """Return the node from "flat" (N, D) to "depth" (N, 1), the mean over the trees."""
    sizes = [len(tree.feature) for tree in trees]
    feature = np.concatenate([tree.feature for tree in trees])
    tree_of = np.repeat(np.arange(len(trees)), sizes)
    place = np.concatenate([np.arange(size) for size in sizes])
    leaf = feature < 0
    depth = np.concatenate([tree.depth for tree in trees])[leaf] / len(trees)
    return helper.make_node(
        "TreeEnsembleRegressor",
        ["flat"],
        ["depth"],
        domain=graph.ML,
        n_targets=1,
        nodes_treeids=tree_of.tolist(),
        nodes_nodeids=place.tolist(),
        nodes_featureids=np.maximum(feature, 0).tolist(),
        nodes_modes=np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        nodes_values=np.concatenate([tree.cut for tree in trees]).astype(np.float64).tolist(),
        nodes_truenodeids=np.concatenate([tree.left for tree in trees]).tolist(),
        nodes_falsenodeids=np.concatenate([tree.right for tree in trees]).tolist(),
        target_treeids=tree_of[leaf].tolist(),
        target_nodeids=place[leaf].tolist(),
        target_ids=[0] * int(leaf.sum()),
        target_weights=depth.tolist(),
    )
