"""How well a detector at one window finds labelled events: live scores, rank metric, and the alarms of the daemon."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from daemon.core.calibration import Calibration
from daemon.core.pipeline import DEFAULT_BUDGET_PER_POINT
from daemon.core.records import F32, Bool
from training.judge import scoring
from training.study import detectors

HELD_BACK = 0.25  # of the fitting rows, the newest: they calibrate, as in every recipe


@dataclass(frozen=True, slots=True)
class Case:
    """A series with events: fit (n, C) normal rows, values (m, C) all rows, judged from `start` on; anomaly (m,)."""

    name: str
    fit: F32
    values: F32
    anomaly: Bool
    start: int


@dataclass(frozen=True, slots=True)
class Found:
    """What one fit came to on one case. delay: median rows from an event's start to its alarm, None without one."""

    vus_pr: float
    precision: float | None
    recall: float | None
    f1: float | None
    delay: float | None
    seconds: float


def judge(name: str, window: int, case: Case, seed: int) -> Found:
    """Fit, score every row from the first full window on as live, hop 1, and judge rows from case.start on.

    Gaps in time are not looked at: `anomalyd-train evaluate` does that with the model at last.
    """
    began = time.perf_counter()
    cut = len(case.fit) - int(len(case.fit) * HELD_BACK)
    score = detectors.fit(name, case.fit[:cut], window, seed)
    raw = score(case.values)
    if not len(raw):
        raise ValueError(f"{case.name}: {len(case.values)} rows are no window of {window}")
    held = score(case.fit[cut - window + 1 :]) if cut >= window else score(case.fit)
    rank = np.concatenate([np.full(window - 1, raw.min()), raw])[case.start :]
    truth = case.anomaly[case.start :]
    value = scoring.vus_pr(rank, truth, scoring.buffer_of(case.fit))
    calibration = Calibration(
        1, window=window, hop=1, budget_per_point=DEFAULT_BUDGET_PER_POINT, segments=[held.tolist()], noise_floor=0.1
    )
    slots = np.zeros(len(raw), np.int32)
    calibration.reset(slots[:1])
    state = calibration.update(slots, raw.astype(np.float32)).state
    on = np.concatenate([np.zeros(window - 1, bool), state > 0])[case.start :]
    alarms = scoring.alarms(on, truth, window)
    return Found(
        float("nan") if value is None else value, alarms.precision, alarms.recall, alarms.f1, alarms.delay,
        time.perf_counter() - began,
    )  # fmt: skip
