"""Head `classify`: the classes that rows are labelled with.

The score is -log P(normal), which is that of `faults` at temperature 1.
"""

from __future__ import annotations

import numpy as np

from daemon.core.records import I32

NAME = "classify"


def class_weight(y: I32, classes: int) -> dict[int, float]:
    """Return what an error on each class costs, so that all classes weigh the same in all; 1 on average.

    y: (N,) class of each window, each of the classes at least once.
    """
    counts = np.bincount(y, minlength=classes)
    return {k: len(y) / (classes * count) for k, count in enumerate(counts.tolist())}
