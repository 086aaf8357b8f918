"""Would the demo go well? The demo's plant, faults, model and calibration, offline, for many seeds at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from daemon.core.calibration import Calibration
from daemon.core.model import Model
from daemon.core.records import F32, RAISED
from daemon.demo import faults
from daemon.demo.faults import Fault
from daemon.demo.plant import Family, Plant


@dataclass(frozen=True, slots=True)
class Setting:
    """What one show is. Rows count samples: 2000 are 40 s at 50 Hz."""

    sensors: int = 20
    rows: int = 2000
    quiet: int = 700  # rows before the first fault
    hop: int = 4
    budget_per_point: float = 1e-5
    faults: int = 8
    length: tuple[int, int] = (75, 150)
    magnitude: tuple[float, float] = (10.0, 16.0)
    family: Family = "demo"


@dataclass(frozen=True, slots=True)
class Show:
    """What came of one show: for each fault the delay in rows or None where it was missed; onsets that hit nothing."""

    schedule: list[Fault]
    delays: list[int | None]
    false_alarms: list[tuple[int, int]]  # (sensor, row)

    @property
    def caught(self) -> int:
        """How many faults raised an alarm."""
        return sum(delay is not None for delay in self.delays)


def scores(model: Model, values: F32, hop: int) -> tuple[F32, F32]:
    """Return (sensors, scores) raw scores of every hop-th window of each column, and their class probabilities."""
    window = model.card.window
    cut = np.lib.stride_tricks.sliding_window_view(values, window, axis=0)[::hop]  # (scores, sensors, W)
    x = np.ascontiguousarray(cut.transpose(1, 0, 2)).reshape(-1, window, 1)
    outs = [model.run(x[n : n + model.largest_batch]) for n in range(0, len(x), model.largest_batch)]
    raw = np.concatenate([out.score for out in outs]).reshape(values.shape[1], -1)
    known = [out.class_probability for out in outs if out.class_probability is not None]
    return raw, np.concatenate(known).reshape(*raw.shape, -1)


def run(model: Model, seed: int, setting: Setting) -> Show:
    """Return what one show would have shown."""
    plant = Plant(setting.sensors, seed=seed, family=setting.family)
    rows = (setting.quiet, setting.rows - 100)
    schedule = faults.plan(plant.quantities, rows, seed, setting.faults, setting.length, setting.magnitude)
    values = faults.apply(plant.take(setting.rows), schedule, seed)
    return judge(model, values, schedule, setting)


def judge(model: Model, values: F32, schedule: Sequence[Fault], setting: Setting) -> Show:
    """Score and calibrate every sensor from a cold start; compare the alarms with the schedule."""
    card, window = model.card, model.card.window
    raw, _ = scores(model, values, setting.hop)
    sensors, n = raw.shape
    calibration = Calibration(
        sensors,
        window=window,
        hop=setting.hop,
        budget_per_point=setting.budget_per_point,
        segments=card.calibration.segments,
        segments_hop=card.calibration.hop,
        noise_floor=card.calibration.noise_floor,
    )
    calibration.reset(np.arange(sensors, dtype=np.int32))
    verdicts = calibration.update(np.repeat(np.arange(sensors, dtype=np.int32), n), raw.ravel())
    sensor, score = np.nonzero(verdicts.change.reshape(sensors, n) == RAISED)
    onsets = list(zip(sensor.tolist(), (score * setting.hop + window - 1).tolist(), strict=True))
    delays: list[int | None] = []
    true = set()
    for fault in schedule:
        hits = [o for o in onsets if o[0] == fault.sensor and fault.start <= o[1] <= fault.end + window]
        true.update(hits)
        delays.append(min((row - fault.start for _, row in hits), default=None))
    return Show(list(schedule), delays, [o for o in onsets if o not in true])


def success(shows: Sequence[Show], recall: float = 0.8, false_alarms: int = 2) -> float:
    """Return the share of shows that caught enough faults with few enough false alarms."""
    good = [s.caught >= recall * len(s.delays) and len(s.false_alarms) <= false_alarms for s in shows]
    return float(np.mean(good))


def report(model: Model, seeds: Sequence[int], setting: Setting | None = None) -> dict[str, Any]:
    """Return how shows on these seeds went: the share that would have been a good demo, and what they caught."""
    setting = setting or Setting()
    shows = [run(model, seed, setting) for seed in seeds]
    kinds: dict[str, list[bool]] = {}
    for show in shows:
        for fault, delay in zip(show.schedule, show.delays, strict=True):
            kinds.setdefault(fault.kind, []).append(delay is not None)
    delays = [delay for show in shows for delay in show.delays if delay is not None]
    alarms = [len(show.false_alarms) for show in shows]
    return {
        "shows": len(shows),
        "good": round(success(shows), 4),
        "faults": sum(len(show.delays) for show in shows),
        "caught": round(sum(show.caught for show in shows) / max(1, sum(len(show.delays) for show in shows)), 4),
        "caught_by_kind": {kind: round(float(np.mean(found)), 4) for kind, found in sorted(kinds.items())},
        "false_alarms_per_show": round(float(np.mean(alarms)), 4),
        "most_false_alarms": max(alarms),
        "median_delay_rows": float(np.median(delays)) if delays else None,
    }
