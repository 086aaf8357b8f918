"""How well a score ranks, without a threshold and without regard to time: Mann and Whitney (1947)."""

from __future__ import annotations

import numpy as np

from daemon.core.records import F32, F64, Bool


def auc(score: F32 | F64, anomaly: Bool) -> float:
    """Return how often an anomalous window scores higher than a normal one, a tie counting half (ROC-AUC).

    score, anomaly: (N,). 0.5 where either kind is missing.
    """
    positive = int(anomaly.sum())
    negative = len(anomaly) - positive
    if not positive or not negative:
        return 0.5
    return float((ranks(score)[anomaly].sum() - positive * (positive + 1) / 2) / (positive * negative))


def ranks(score: F32 | F64) -> F64:
    """Return the rank of each score from 1, ties sharing their mean."""
    _, group, count = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    found: F64 = (last - (count - 1) / 2)[group]
    return found
