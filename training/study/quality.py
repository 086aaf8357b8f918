"""How well a detector at one window finds what it should, without labels: one round of trials, as plain figures.

Why not simply the rows of a fault against all others: small windows always win that, and lose on real events
(docs/window-size.md). An event here has an aftermath, as the labels of people have.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from daemon.core.records import F32, F64, Bool
from training.history.examples import Known
from training.judge import spent
from training.network.layers import Preset
from training.study import detectors, trials

AHEAD = 0.25  # of the rows: what is held back to judge a model by
FLOOR_SHARE = 0.1  # of the usual scores' 99 % quantile: differences below are noise, as in daemon.core.calibration


@dataclass(frozen=True, slots=True)
class Round:
    """Figures of one round over all its fits; a list has one entry for each trial, or for each fit where it says so.

    precision: average precision of the event's rows. lift: by how much the log score of the fault's rows is higher
    than that of the same rows without it, where they do not wander. found: while the fault is in the window, a score is
    above all those outside the event. delay: rows to the first such score, of those found. seconds: of the round.
    training_s, training_mb: of each fit, see spent.
    """

    precision: list[float]
    lift: list[float]
    found: list[bool]
    delay: list[int]
    seconds: float
    training_s: list[float]
    training_mb: list[float]


def judge(name: str, window: int, rows: F32, longest: int, seed: int) -> Round:
    """Fit on one half of the rows, put faults into the other, and the other way round."""
    half = len(rows) // 2
    return _judge(name, window, [(rows[:half], rows[half:]), (rows[half:], rows[:half])], longest, seed, None)


def ahead(name: str, window: int, rows: F32, longest: int, seed: int, trunk: Preset | None) -> Round:
    """Fit once, on the older rows, and put faults into the newest AHEAD of them: for what takes long to fit.

    The rows before those only fill the first windows. trunk: of a network.
    """
    cut = len(rows) - int(len(rows) * AHEAD)
    return _judge(name, window, [(rows[:cut], rows[max(cut - longest, 0) :])], longest, seed, trunk)


def _judge(
    name: str, window: int, folds: Sequence[tuple[F32, F32]], longest: int, seed: int, trunk: Preset | None
) -> Round:
    """Return the figures of folds: (rows to fit on, rows to put faults into) each."""
    began = time.perf_counter()
    told = Round([], [], [], [], 0.0, [], [])
    for fold, (known, other) in enumerate(folds):
        with spent.measured() as cost:
            score = detectors.fit(name, known, window, seed, trunk)
        told.training_s.append(cost.seconds)
        told.training_mb.append(cost.mb)
        usual = score(known)
        floor = max(FLOOR_SHARE * float(np.quantile(usual, 0.99)), 1e-6)
        mean = known.astype(np.float64).mean(axis=0)
        spread = np.maximum(known.astype(np.float64).std(axis=0), 1e-3 * (np.abs(mean) + 1))
        rng = np.random.default_rng([seed, fold, 17])  # the same trials for every window and detector
        clean = np.concatenate([np.full(window - 1, np.nan), np.log(score(other) + floor)])
        for trial in trials.draw(other, Known(mean.astype(np.float32), spread.astype(np.float32)), longest, rng):
            _add(told, trial, window, score, floor, clean)
    return replace(told, seconds=time.perf_counter() - began)


def _add(told: Round, trial: trials.Trial, window: int, score: detectors.Score, floor: float, clean: F64) -> None:
    """Add one trial. clean: (n,) log scores of the rows that it was taken from, as they were."""
    skipped = max(trial.context - window + 1, 0)  # rows that no judged window needs
    late = max(window - 1 - trial.context, 0)  # judged rows without a full window
    heard = np.log(score(trial.rows[skipped:]) + floor)
    event, fault = trial.event[late:], trial.fault[late:]
    if not event.any() or event.all():
        told.precision.append(float("nan"))  # so that trials of all windows stay side by side
        return
    calm = heard[~event]
    told.precision.append(average_precision(heard, event))
    if fault.any() and not trial.wandered:
        begin = trial.first + trial.context + late
        told.lift.append(float((heard - clean[begin : begin + len(heard)])[fault].mean()))
    begin = max(trial.start - trial.context - late, 0)
    reach = heard[begin : begin + (trial.end - trial.start) + window]
    above = np.flatnonzero(reach > calm.max())
    told.found.append(bool(len(above)))
    if len(above):
        told.delay.append(int(above[0]))


def average_precision(score: F64, labelled: Bool) -> float:
    """Return the mean precision at each labelled row, best score first; both (n,)."""
    truth = labelled[np.argsort(-score, kind="stable")]
    precision = np.cumsum(truth) / np.arange(1, len(truth) + 1)
    return float(precision[truth].mean())
