"""How well a detector at one window finds labelled events: live scores, rank metric, and the alarms of the daemon."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from daemon.core.calibration import Calibration
from daemon.core.pipeline import DEFAULT_BUDGET_PER_POINT
from daemon.core.records import F32, Bool
from training.judge import scoring, spent
from training.network.layers import Preset
from training.study import detectors


@dataclass(frozen=True, slots=True)
class Case:
    """A series with events: fit (n, C) normal rows, values (m, C) all rows, judged from `start` on; anomaly (m,)."""

    name: str
    fit: F32
    values: F32
    anomaly: Bool
    start: int


def stretch(case: Case, rows: int) -> Case:
    """Return a case of so many of its judged rows, round the beginning of its first event; or the case as it is."""
    first = case.start + int(np.argmax(case.anomaly[case.start :]))
    begin = max(min(first - rows // 2, len(case.values) - rows), 0)
    part = slice(begin, begin + rows)
    return replace(case, values=case.values[part], anomaly=case.anomaly[part], start=max(case.start - begin, 0))


@dataclass(frozen=True, slots=True)
class Found:
    """What one fit came to on one case. delay: median rows from an event's start to its alarm, None without one.

    training_s, training_mb: of the fit, see spent.
    """

    vus_pr: float
    precision: float | None
    recall: float | None
    f1: float | None
    delay: float | None
    seconds: float
    training_s: float
    training_mb: float


def judge(name: str, window: int, case: Case, seed: int, trunk: Preset | None = None) -> Found:
    """Fit, score every row from the first full window on as live, hop 1, and judge rows from case.start on.

    Gaps in time are not looked at: `anomalyd-train evaluate` does that with the model at last.
    """
    began = time.perf_counter()
    with spent.measured() as cost:
        fitted = detectors.calibrated(name, case.fit, window, seed, trunk)
    raw = fitted.score(case.values)
    if not len(raw):
        raise ValueError(f"{case.name}: {len(case.values)} rows are no window of {window}")
    rank = np.concatenate([np.full(window - 1, raw.min()), raw])[case.start :]
    truth = case.anomaly[case.start :]
    value = scoring.vus_pr(rank, truth, scoring.buffer_of(case.fit))
    calibration = Calibration(
        1, window=window, hop=1, budget_per_point=DEFAULT_BUDGET_PER_POINT, segments=fitted.segments,
        noise_floor=fitted.noise_floor,
    )  # fmt: skip
    slots = np.zeros(len(raw), np.int32)
    calibration.reset(slots[:1])
    state = calibration.update(slots, raw.astype(np.float32)).state
    on = np.concatenate([np.zeros(window - 1, bool), state > 0])[case.start :]
    alarms = scoring.alarms(on, truth, window)
    return Found(
        float("nan") if value is None else value, alarms.precision, alarms.recall, alarms.f1, alarms.delay,
        time.perf_counter() - began, cost.seconds, cost.mb,
    )  # fmt: skip
