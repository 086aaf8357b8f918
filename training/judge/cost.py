"""What a model costs where it runs: time per window, memory per sensor."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from daemon.core.model import Model
from daemon.core.records import F32
from daemon.core.rings import Rings

MEASURED_S = 0.5  # how long each batch size is timed


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one window; None where the card does not say. us_alone: microseconds for a window by itself, us_batched: in
    the best batch, `batch` windows; network alone, one thread. ring_bytes: of one sensor, or asset. file_bytes."""

    parameters: int | None
    macs: int | None
    receptive_field: int | None
    us_alone: float
    us_batched: float
    batch: int
    ring_bytes: int
    file_bytes: int


def measure(model: Model, x: F32) -> Cost:
    """Measure a model on windows like x, (n, W, C) with n >= 1; load it with one thread."""
    card = model.card
    rings = Rings(1, card.window, len(card.channels), card.hop)
    return Cost(
        card.parameters, card.macs, card.receptive_field, us_per_window(model, np.resize(x, (1, *x.shape[1:]))),
        us_per_window(model, np.resize(x, (model.batch, *x.shape[1:]))), model.batch, rings.slab.nbytes,
        model.file.stat().st_size,
    )  # fmt: skip


def us_per_window(model: Model, x: F32) -> float:
    """Return microseconds a window where the model runs on x, (n, W, C): of the fastest of many runs.

    The fastest, as whoever else uses the machine can only make a run slower.
    """
    best, until = np.inf, time.perf_counter() + MEASURED_S
    while time.perf_counter() < until:
        begun = time.perf_counter()
        model.run(x)
        best = min(best, time.perf_counter() - begun)
    return float(1e6 * best / len(x))
