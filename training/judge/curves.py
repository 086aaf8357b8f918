"""What a threshold would do: precision over recall of the ranks, and alarms declared against alarms achieved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from daemon.core.card import Card
from daemon.core.model import Model
from daemon.core.records import F32, F64, Bool, Outputs
from training.history.data import History
from training.judge import replayed, scoring
from training.judge.replayed import Replayed

BUDGETS = (5e-5, 2e-4, 1e-3, 5e-3)  # onsets per point; docs/calibration.md says which are proven
MOST_POINTS = 200


def precision_recall(rank: F64, labelled: Bool) -> tuple[F64, F64]:
    """Return recall (ascending) and precision of rows at every threshold, at most MOST_POINTS of them.

    rank: (n,) higher is more anomalous; labelled: (n,) with at least one row. Rows of equal rank are called together.
    """
    order = np.argsort(-rank, kind="stable")
    hits = np.cumsum(labelled[order])
    ranked = rank[order]
    last = np.flatnonzero(np.concatenate([ranked[1:] != ranked[:-1], [True]]))
    recall, precision = hits[last] / hits[-1], hits[last] / (last + 1)
    # evenly over recall, so that the thin tops of a long history are not lost
    kept = np.unique(np.searchsorted(recall, np.linspace(0, 1, MOST_POINTS)).clip(max=len(recall) - 1))
    return recall[kept], precision[kept]


class Recorded:
    """A model that says again what it said in a replay of the same rows: the pipeline without the network."""

    def __init__(self, model: Model, heard: Replayed) -> None:
        """Take the raw scores of `heard`, in the order in which the pipeline asked for them."""
        self.card: Card = model.card
        self.largest_batch = model.largest_batch
        self._raw = np.concatenate([part.raw for part in heard.parts]) if heard.parts else np.zeros(0, np.float32)
        self._at = 0

    def run(self, x: F32) -> Outputs:
        """Return the next len(x) scores."""
        self._at += len(x)
        return Outputs(score=self._raw[self._at - len(x) : self._at])


def again(model: Model, heard: Replayed, one: History, hop: int, budget: float) -> Replayed:
    """Return what the replay would have been with another budget; the network does not run again."""
    return replayed.over(cast(Model, Recorded(model, heard)), one, hop, budget)


def per_stream(heard: Replayed, one: History, window: int) -> scoring.Alarms:
    """Return the alarms of every score stream, as budgets count them, summed; rows >= train_end."""
    late = slice(one.train_end, None)
    return scoring.total([scoring.alarms(on[late], one.anomaly[late], window) for on in heard.on])


def achieved(
    model: Model, heard: Sequence[Replayed], series: Sequence[History], hop: int
) -> list[tuple[float, int, int]]:
    """Return, for each budget, (onsets declared per point, false onsets, normal points) over all score streams."""
    found = []
    for budget in BUDGETS:
        alarms = scoring.total(
            [
                per_stream(again(model, one_heard, one, hop, budget), one, model.card.window)
                for one_heard, one in zip(heard, series, strict=True)
            ]
        )
        found.append((budget, alarms.false, alarms.normal_rows))
    return found
