"""A model on labelled packs, as the daemon would run it: cold start, row by row, one threshold per score stream.

A model of one channel watches every sensor of an asset on its own: each has the budget, the asset is in alarm while
any of them is, and its rank is the largest log of their calibrated scores. A model whose channels are the asset's own
scores the asset at once, and its rank is the raw score.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from daemon.core.model import Model
from daemon.core.pipeline import DEFAULT_BUDGET_PER_POINT
from daemon.core.records import F32, F64
from daemon.errors import DataError
from training.history import data
from training.history.data import History
from training.history.reading import INDEX, Options
from training.judge import replayed, scoring, split
from training.judge.replayed import Replayed


@dataclass(frozen=True, slots=True)
class Judged:
    """What a model said of one series, for rows >= train_end. vus_pr, floor: None where nothing is labelled.

    streams: score streams that watched it, each with a budget of its own.
    """

    series: str
    vus_pr: float | None
    vus_pr_score: float | None  # of the calibrated score instead of the raw one
    floor: float | None
    alarms: scoring.Alarms
    streams: int = 1


def series(model: Model, one: History, budget: float = DEFAULT_BUDGET_PER_POINT, fit: Sequence[History] = ()) -> Judged:
    """Judge a model on one series, at hop 1, on rows >= train_end. fit: the series it was fitted on, where not this."""
    return judge(replayed.over(model, one, 1, budget), one, model.card.window, fit)


def judge(heard: Replayed, one: History, window: int, fit: Sequence[History] = ()) -> Judged:
    """Judge what a replay of `one` at hop 1 said, on rows >= train_end. Raises DataError where nothing was scored."""
    if not heard.windows:
        raise DataError(one.name, "rows", len(one.t), f"at least a window of {window}")
    with np.errstate(divide="ignore"):
        calm = np.log(np.fmax.reduce(heard.score, axis=0))
    rank = heard.raw[0].astype(np.float64) if len(heard.raw) == 1 else calm
    late = slice(one.train_end, None)
    truth = one.anomaly[late]
    buffer = scoring.buffer_of(_fit_values(one, fit))
    return Judged(
        one.name,
        scoring.vus_pr(_known(rank)[late], truth, buffer),
        scoring.vus_pr(_known(calm)[late], truth, buffer),
        scoring.random_floor(truth, buffer),
        scoring.alarms(np.logical_or.reduce(heard.on, axis=0)[late], truth, window),
        len(heard.raw),
    )


def _fit_values(one: History, fit: Sequence[History]) -> F32:
    """Return the rows whose period is the label buffer: the fitting rows, or all where none are told."""
    if one.train_end:
        return one.values[: one.train_end]
    return fit[0].fit_rows() if fit and len(fit[0].fit_rows()) else one.values


def _known(rank: F64) -> F64:
    """Return a rank per row that is finite: the minimum before the first score, or while it is unknown."""
    known = np.isfinite(rank)
    return np.where(known, rank, rank[known].min() if known.any() else 0.0)


def pack(
    model: Model, path: Path, budget: float = DEFAULT_BUDGET_PER_POINT, options: Options | None = None
) -> dict[str, Any]:
    """Judge a model on the test series of a pack from train_end on; return what `summary` describes.

    A file, or a folder without an index, is judged as a whole, or from where options.train_end says.
    """
    found = data.read(path, options)
    if (path / INDEX).is_file():
        return summary(series(model, one, budget, split.fitted_on(found, one)) for one in split.tests(found))
    if options is None or options.train_end is None:
        found = [replace(one, train_end=0) for one in found]
    for one in found:
        if one.train_end == len(one.t):
            raise DataError(one.name, "rows from --train-end on", 0, f"an earlier one: {len(one.t)} rows are there")
    return summary(series(model, one, budget) for one in found)


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
        "false_alarms": alarms.false,
        "normal_rows": alarms.normal_rows,
        "false_alarms_per_10k": _round(alarms.false_per_10k),
        "normal_time_in_alarm": _round(alarms.normal_time_in_alarm),
        "normal_time_in_alarm_with_tail": _round(alarms.normal_time_in_alarm_with_tail),
        "median_delay_rows": _round(alarms.delay),
    }


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
