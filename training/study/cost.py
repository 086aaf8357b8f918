"""What a candidate costs: on paper, and in ONNX Runtime on this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from daemon.core.model import Gpu, Model

LEAST_S, LEAST_RUNS = 0.15, 7


@dataclass(frozen=True, slots=True)
class Cost:
    """latency_ms: median of one window alone; windows_per_s: at `batch` windows; provider: what ran.

    ring_bytes: of a sensor's ring in the daemon. model_bytes: the file. first_score_s: from a sensor's first sample to
    its first score, None where the interval is not known.
    """

    parameters: int
    macs: int
    receptive_field: int
    latency_ms: float
    windows_per_s: float
    batch: int
    provider: str
    ring_bytes: int
    model_bytes: int
    first_score_s: float | None

    def memory_mb(self, sensors: int) -> float:
        """Return megabytes of the model and the rings of so many of its streams."""
        return (self.model_bytes + sensors * self.ring_bytes) / 1e6


def measure(file: Path, interval_s: float, batch: int, gpu: Gpu) -> Cost:
    """Time a model file: one window alone, and `batch` at once. Raises ConfigError without a GPU that is required."""
    model = Model(file, gpu=gpu, threads=1)
    window, channels = model.card.window, len(model.card.channels)
    noise = np.random.default_rng(0).standard_normal((max(1, batch), window, channels)).astype(np.float32)
    alone = seconds(model, noise[:1])
    batch = min(batch, model.largest_batch)
    all_at_once = seconds(model, noise[:batch])
    card = model.card
    return Cost(
        parameters=card.parameters or 0,
        macs=card.macs or 0,
        receptive_field=card.receptive_field or window,
        latency_ms=1e3 * alone,
        windows_per_s=batch / all_at_once,
        batch=batch,
        provider=model.provider,
        ring_bytes=ring_bytes(window, channels),
        model_bytes=file.stat().st_size,
        first_score_s=window * interval_s if interval_s > 0 else None,
    )


def together(every: list[Cost]) -> Cost:
    """Return the cost of models that all run on each window; the first has the largest."""
    first = every[0]
    return replace(
        first,
        parameters=sum(one.parameters for one in every),
        macs=sum(one.macs for one in every),
        latency_ms=sum(one.latency_ms for one in every),
        windows_per_s=1 / sum(1 / one.windows_per_s for one in every),
        model_bytes=sum(one.model_bytes for one in every),
    )


def seconds(model: Model, x: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> float:
    """Return the median seconds of one run on these windows."""
    model.run(x)
    took: list[float] = []
    began = time.perf_counter()
    while len(took) < LEAST_RUNS or time.perf_counter() - began < LEAST_S:
        start = time.perf_counter()
        model.run(x)
        took.append(time.perf_counter() - start)
    return float(np.median(took))


def ring_bytes(window: int, channels: int) -> int:
    """Return the bytes of one ring: the window and the daemon's slack of a quarter, at least 16 rows, as float32."""
    return 4 * channels * (window + max(16, window // 4))
