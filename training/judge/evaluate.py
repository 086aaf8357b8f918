"""A model on labelled packs, as the daemon would run it: cold start, row by row, one threshold per sensor.

A model of one channel watches every sensor of an asset on its own: with C sensors each gets the budget / C, the asset
is in alarm while any of them is, and its rank is the largest log of their calibrated scores. A model whose channels
are the asset's own scores the asset at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from daemon import assembly, config
from daemon import replay as daemon_replay
from daemon.core.model import Model
from daemon.core.pipeline import DEFAULT_BUDGET_PER_POINT, Pipeline
from daemon.core.records import F32, F64, Bool
from daemon.errors import DataError
from daemon.wire.tables import Table
from training.history import data
from training.history.data import History
from training.judge import scoring


@dataclass(frozen=True, slots=True)
class Judged:
    """What a model said of one series, for rows >= train_end. vus_pr, floor: None where nothing is labelled."""

    series: str
    vus_pr: float | None
    vus_pr_score: float | None  # of the calibrated score instead of the raw one
    floor: float | None
    alarms: scoring.Alarms


def replay(
    model: Model,
    values: F32,
    hop: int = 1,
    budget: float = DEFAULT_BUDGET_PER_POINT,
    columns: Sequence[str] | None = None,
) -> tuple[F32, F64, Bool]:
    """Return (raw, score, on), each (rings, windows), from the daemon's own replay: window k ends at row W - 1 + k hop.

    values: (n, C) float32; C rings of one channel each, or one ring where the model takes all C. Rows count as evenly
    spaced, whatever their stamps say, as the metrics count rows. budget: alarm onsets per point of the asset.
    columns: the names of `values`. Raises ConfigError where a model of several channels does not find them.
    """
    n, channels = values.shape
    rings = channels if len(model.card.channels) == 1 else 1
    stream = config.Stream(
        name="judged",
        topics=["judged"],
        model="judged",
        interval_s=1.0,
        hop=hop,
        payload=config.JsonPayload(format="json", value="value", time="timestamp"),
        alarm=config.AlarmSettings(budget_per_point=budget / rings),
    )
    names = list(columns or (f"c{k}" for k in range(channels)))
    table = Table("judged", np.arange(n, dtype=np.float64), values, names, 0)
    plan = assembly.plan(stream, model.card, config.Limits(max_sensors=rings))
    line = assembly.Line(stream, model, Pipeline(plan, model.card))
    windows = (n - model.card.window) // hop + 1
    parts = list(daemon_replay.replay(line, [table], daemon_replay.Summary()))
    # sensors come one after the other, each in time order
    raw = np.concatenate([part.raw for part in parts]).reshape(rings, windows)
    score = np.concatenate([part.score for part in parts]).reshape(rings, windows)
    return raw, score, np.concatenate([part.alarm for part in parts]).reshape(rings, windows)


def series(model: Model, one: History, budget: float = DEFAULT_BUDGET_PER_POINT) -> Judged:
    """Judge a model on one series, at hop 1, on rows >= train_end."""
    window, n = model.card.window, len(one.t)
    if n < window:
        raise DataError(one.name, "rows", n, f"at least a window of {window}")
    raw, score, on = replay(model, one.values, 1, budget, one.columns)
    loudest = np.fmax.reduce(score, axis=0)
    with np.errstate(divide="ignore"):
        calm = np.log(loudest)
    rank = raw[0].astype(np.float64) if len(raw) == 1 else calm
    alarm = np.zeros(n, np.bool_)
    alarm[window - 1 :] = on.any(axis=0)
    late = slice(one.train_end, None)
    truth = one.anomaly[late]
    buffer = scoring.buffer_of(one.values[: one.train_end] if one.train_end else one.values)
    return Judged(
        one.name,
        scoring.vus_pr(_per_row(rank, n, window)[late], truth, buffer),
        scoring.vus_pr(_per_row(calm, n, window)[late], truth, buffer),
        scoring.random_floor(truth, buffer),
        scoring.alarms(alarm[late], truth, window),
    )


def _per_row(rank: F64, n: int, window: int) -> F64:
    """Return a score per row: of the window that ends there; before the first one, or while unknown, the minimum."""
    known = rank[np.isfinite(rank)]
    out = np.full(n, known.min() if len(known) else 0.0)
    out[window - 1 :] = np.where(np.isfinite(rank), rank, out[0])
    return out


def pack(model: Model, folder: Path, budget: float = DEFAULT_BUDGET_PER_POINT) -> dict[str, Any]:
    """Judge a model on the test series of a pack; return the summary that `summary` describes."""
    tests = [one for one in data.read(folder) if one.role == "test"]
    return summary(series(model, one, budget) for one in tests)


def summary(judged: Iterable[Judged]) -> dict[str, Any]:
    """Return means over series (VUS-PR, its random floor) and counts over all (alarms), rounded, for a table."""
    known = list(judged)
    alarms = scoring.total([one.alarms for one in known])

    def mean(values: Iterable[float | None]) -> float | None:
        found = [value for value in values if value is not None]
        return _round(float(np.mean(found))) if found else None

    return {
        "series": len(known),
        "vus_pr": mean(one.vus_pr for one in known),
        "vus_pr_calibrated": mean(one.vus_pr_score for one in known),
        "vus_pr_random": mean(one.floor for one in known),
        "events": alarms.events,
        "event_recall": _round(alarms.recall),
        "event_precision": _round(alarms.precision),
        "event_f1": _round(alarms.f1),
        "false_alarms_per_10k": _round(alarms.false_per_10k),
        "normal_time_in_alarm": _round(alarms.normal_time_in_alarm),
        "median_delay_rows": _round(alarms.delay),
    }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
