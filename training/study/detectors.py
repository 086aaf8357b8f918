"""Detectors that are quick to fit, so that many windows can be tried: from normal rows to a function that scores.

`knn` and `whitening` score as their model files do (training.baselines), without the file; `several` is knn at the
window, a half and a quarter of it, fused; the others are fitted as model files (models): `fused` as `anomalyd-train`
fits it by itself, `lean` on the lean trunk of that window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from daemon.core.records import F32, F64
from training.baselines import graph, knn, memory, whitening
from training.baselines.graph import Normal
from training.network.layers import Preset
from training.study import candidates, models

CLOSED = ("knn", "whitening")
LEAN = "lean"
MODELS = (models.FUSED, LEAN)  # seconds a fit, where the closed forms take some hundredths
SEVERAL = "several"
KNOWN = (*CLOSED, SEVERAL, *MODELS)
PARTS = (1, 2, 4)  # of a window, that `several` looks at
MOST_DIMENSIONS = 1600  # of a covariance: beyond it a study would wait for it
MOST_VALUES = 16_384  # of a window, rows x channels, to be held against 500 others: the same
HELD_BACK = 0.25  # of the fitting rows, the newest: they calibrate closed forms, as in every recipe
NOISE_FLOOR = 0.1  # of a distance in standard deviations: differences below it are none
CHUNK = 2048  # windows scored at once

Score = Callable[[F32], F64]  # rows (n, C) -> scores of the n - W + 1 windows in them


@dataclass(frozen=True, slots=True)
class Fitted:
    """A detector, and scores of rows that it was not fitted on: what its alarms are calibrated by."""

    score: Score
    segments: Sequence[Sequence[float]]
    noise_floor: float


def able(name: str, window: int, channels: int) -> str:
    """Return why a detector cannot have this window, or ""."""
    if name == "whitening":
        size = whitening.last_rows(window, channels) * channels
        if size > MOST_DIMENSIONS:
            return f"a covariance of {size:,} dimensions; a study takes {MOST_DIMENSIONS:,} at most"
    elif name not in MODELS and window * channels > MOST_VALUES:
        return f"{window * channels:,} values in a window; a study takes {MOST_VALUES:,} at most"
    return ""


def fit(name: str, rows: F32, window: int, seed: int, trunk: Preset | None = None) -> Score:
    """Return a detector fitted on these normal rows, (n, C), n >= 2 windows. trunk: a network's, or its own."""
    if trunk is not None or name in MODELS:
        return _model(name, rows, window, seed, trunk).score
    if name == SEVERAL:
        return _several(rows, window, seed)
    mean = rows.astype(np.float64).mean(axis=0)
    sd = np.maximum(rows.astype(np.float64).std(axis=0), 1e-3 * (np.abs(mean) + 1))
    normal = Normal((rows,), (), mean.astype(np.float32), sd.astype(np.float32))
    return _nearest(normal, window, seed) if name == "knn" else _white(normal, window)


def calibrated(name: str, rows: F32, window: int, seed: int, trunk: Preset | None = None) -> Fitted:
    """Return a detector fitted on normal rows, (n, C), some of which it holds back: a model as it sees fit."""
    if trunk is not None or name in MODELS:
        return _model(name, rows, window, seed, trunk)
    cut = len(rows) - int(len(rows) * HELD_BACK)
    score = fit(name, rows[:cut], window, seed)
    held = score(rows[cut - window + 1 :]) if cut >= window else score(rows)
    return Fitted(score, [held.tolist()], NOISE_FLOOR)


def _model(name: str, rows: F32, window: int, seed: int, trunk: Preset | None) -> Fitted:
    if trunk is None and name == LEAN:
        trunk = candidates.trunk(window)
    made = models.fit(rows, window, seed, trunk)
    return Fitted(_chunked(made.some, window), made.segments, made.noise_floor)


def _nearest(normal: Normal, window: int, seed: int) -> Score:
    known = memory.remember(normal, window, seed, knn.MOST)
    centre = known.mean(axis=0)
    around = (known - centre).astype(np.float32)
    lengths = np.square(around).sum(axis=1)
    near = min(knn.NEAREST, len(known))

    def some(x: F32) -> F64:
        flat = (normal.normalise(x).reshape(len(x), -1) - centre).astype(np.float32)
        apart = np.maximum(np.square(flat).sum(axis=1)[:, None] + lengths - 2 * flat @ around.T, 0)
        return np.asarray(np.sqrt(np.partition(apart, near - 1, axis=1)[:, :near]).mean(axis=1), np.float64)

    return _chunked(some, window)


def _white(normal: Normal, window: int) -> Score:
    rows = whitening.last_rows(window, len(normal.mean))
    centre, whiten = whitening.whitener(normal, rows)
    turn = whiten.astype(np.float32)

    def some(x: F32) -> F64:
        flat = (normal.normalise(x[:, window - rows :]).reshape(len(x), -1) - centre).astype(np.float32)
        return np.asarray(np.sqrt(np.square(flat @ turn).sum(axis=1)), np.float64)

    return _chunked(some, window)


def _several(rows: F32, window: int, seed: int) -> Score:
    """Fuse by the mean of log(1 + excess over the usual score), each in units of its own spread on rows held back."""
    cut = max(len(rows) * 3 // 4, len(rows) - max(4 * window, 256))
    parts = []
    for share in PARTS:
        rows_of = window // share
        score = fit("knn", rows[:cut], rows_of, seed)
        usual = score(rows[cut - rows_of + 1 :])
        middle = float(np.median(usual))
        unit = max(float(np.quantile(usual, 0.99)) - middle, 0.05 * abs(middle), 1e-6)
        parts.append((window - rows_of, score, middle, unit))

    def fused(x: F32) -> F64:
        told = [np.log1p(np.maximum(score(x[skip:]) - middle, 0) / unit) for skip, score, middle, unit in parts]
        return np.asarray(np.mean(told, axis=0))

    return fused


def _chunked(some: Callable[[F32], F64], window: int) -> Score:
    def score(rows: F32) -> F64:
        cut = graph.windows(rows, window)
        parts = [some(np.ascontiguousarray(cut[n : n + CHUNK])) for n in range(0, len(cut), CHUNK)]
        return np.concatenate(parts) if parts else np.zeros(0)

    return score
