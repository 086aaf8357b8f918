"""What a conversion costs in ranking: each file on the same windows, and through the replay on judged rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daemon.core.model import Model
from daemon.core.records import F32
from training.judge import classes, evaluate, ranking, scoring
from training.network.precision.material import Material

FAR = (100.0, 1e3, 1e6)  # standard deviations: faults that nobody may miss
MOST_FAR = 200  # windows of each of them


@dataclass(frozen=True, slots=True)
class Quality:
    """How well one file ranks. auc: of the probes. vus_pr, event_f1: of the judged rows, None where there are none.

    accuracy: of the probes' classes, None where these are not the model's. scores: (N,) of the probes. calm: the
    highest score of held-back normal windows. far: (n,) of windows with the plainest of faults.
    """

    auc: float
    vus_pr: float | None
    event_f1: float | None
    accuracy: float | None
    scores: F32
    calm: float
    far: F32


def measure(model: Model, material: Material, calm: F32, far: F32) -> Quality:
    """Return one file's quality. calm: (n, W, C) held-back normal windows; far: (m, W, C), as `far_out` makes them."""
    probes = material.probes
    found = scores(model, probes.x)
    judged = [evaluate.series(model, one, fit=fit) for one, fit in material.judged]
    volumes = [one.vus_pr for one in judged if one.vus_pr is not None]
    named = not material.judged and model.card.head == "classify"
    return Quality(
        ranking.auc(found, probes.y > 0),
        float(np.mean(volumes)) if volumes else None,
        scoring.total([one.alarms for one in judged]).f1 if judged else None,
        float((classes.guess(model, probes.x) == probes.y).mean()) if named else None,
        found,
        float(scores(model, calm).max()),
        scores(model, far),
    )


def correlation(one: F32, other: F32) -> float:
    """Return Spearman's rank correlation; 1 where both are constant."""
    a, b = ranking.ranks(one), ranking.ranks(other)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size else 1.0


def greatest_difference(one: F32, other: F32) -> float:
    """Return the greatest |a - b| / max(1, |a|)."""
    return float((np.abs(one - other) / np.maximum(1, np.abs(one))).max(initial=0.0))


def far_out(calm: F32, sd: F32) -> F32:
    """Return held-back windows whose newest quarter is FAR standard deviations off: in one channel, then in all."""
    window, channels = calm.shape[1:]
    some = calm[:: max(1, len(calm) // MOST_FAR)].astype(np.float64)
    off = np.zeros((2, len(some), channels))
    off[0, np.arange(len(some)), np.arange(len(some)) % channels] = 1
    off[1] = 1
    moved = np.tile(some, (len(FAR), 2, 1, 1, 1))
    moved[..., -max(1, window // 4) :, :] += (np.array(FAR)[:, None, None, None] * off * sd)[:, :, :, None]
    found: F32 = moved.astype(np.float32).reshape(-1, window, channels)
    return found


def scores(model: Model, x: F32) -> F32:
    """Return the raw scores of windows (N, W, C), as the daemon would run them."""
    parts = [
        model.run(np.ascontiguousarray(x[n : n + model.largest_batch])).score
        for n in range(0, len(x), model.largest_batch)
    ]
    return np.concatenate([*parts, np.zeros(0, np.float32)]).astype(np.float32)
