"""Of which class is a window? Accuracy, and precision, recall and F1 of each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from daemon.core.model import Model
from daemon.core.records import F32, I32
from daemon.demo.plant import Family
from training.history import examples


def confusion(truth: I32, guess: I32, classes: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Return how often class i was called class j, (classes, classes)."""
    counted = np.bincount(truth.astype(np.int64) * classes + guess, minlength=classes * classes)
    return counted.reshape(classes, classes)


def report(truth: I32, guess: I32, classes: Sequence[str]) -> dict[str, Any]:
    """Return {"windows", "accuracy", "macro": {...}, "per_class": {name: {precision, recall, f1, windows}}}.

    Classes that never occur are left out of the macro means; precision is 0 where a class is never called.
    """
    table = confusion(truth, guess, len(classes)).astype(np.float64)
    hits, called, there = table.diagonal(), table.sum(axis=0), table.sum(axis=1)
    precision = hits / np.maximum(called, 1)
    recall = hits / np.maximum(there, 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    seen = there > 0
    columns = {"precision": precision, "recall": recall, "f1": f1}
    per_class = {
        name: {**{key: round(float(column[k]), 4) for key, column in columns.items()}, "windows": int(there[k])}
        for k, name in enumerate(classes)
        if seen[k]
    }
    return {
        "windows": len(truth),
        "accuracy": round(float(hits.sum() / max(table.sum(), 1)), 4),
        "macro": {key: round(float(column[seen].mean()), 4) for key, column in columns.items()},
        "per_class": per_class,
    }


def guess(model: Model, x: F32) -> I32:
    """Return the most probable class of each window, (N,), as the daemon would say it."""
    parts = [model.run(x[n : n + model.largest_batch]) for n in range(0, len(x), model.largest_batch)]
    known = [part.class_probability.argmax(axis=1) for part in parts if part.class_probability is not None]
    return np.concatenate([*known, np.zeros(0, np.int64)]).astype(np.int32)


def simulated(model: Model, family: Family, plants: int, seed: int) -> dict[str, Any]:
    """Return the report on windows of simulated plants of this family; the seed must be one no fit has used."""
    drawn = examples.simulated(plants, seed, model.card.window, 60, 60, family=family)
    names = list(model.card.classes)
    place = np.array([names.index(name) if name in names else -1 for name in examples.CLASSES], np.int32)
    known = examples.only(drawn, [k for k, at in enumerate(place.tolist()) if at >= 0])
    return report(place[known.y], guess(model, known.x), names)
