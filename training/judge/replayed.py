"""A model over one history, through the daemon's own replay: what is judged is what would have been scored live."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daemon import assembly, config
from daemon import replay as daemon_replay
from daemon.core.model import Model
from daemon.core.pipeline import DEFAULT_BUDGET_PER_POINT, Pipeline
from daemon.core.records import F32, F64, I64, Alarm, Bool
from daemon.replay import Part, Summary
from daemon.wire.tables import Table
from training.history.data import History


@dataclass(frozen=True, slots=True)
class Replayed:
    """A history's scores by row, one ring for each score stream: each column's, or the asset's own.

    raw (rings, n) float32, score (rings, n) float64: of the newest window at that row, NaN before the first one, score
    also while warming. on (rings, n) bool. A row that the daemon drops (late, duplicate) shows the window before it.
    parts: what the replay said, as `anomalyd replay` writes it. windows, seconds: how many were scored, and the time
    of the whole replay, pipeline and all. raised: the alarms as they were raised, with what the model said of them.
    """

    sensors: tuple[str, ...]
    raw: F32
    score: F64
    on: Bool
    parts: tuple[Part, ...]
    windows: int
    seconds: float
    raised: tuple[Alarm, ...] = ()


def over(model: Model, one: History, hop: int = 1, budget: float = DEFAULT_BUDGET_PER_POINT) -> Replayed:
    """Replay all rows of a history from a cold start, as `anomalyd replay --model MODEL --hop HOP` does.

    budget: alarm onsets per point of each score stream. Raises ConfigError where the model's channels are not there.
    """
    rings = len(one.columns) if len(model.card.channels) == 1 else 1
    stream = config.Stream(
        name="replay",
        topics=["replay"],
        model="judged",
        hop=hop,
        payload=config.JsonPayload(format="json", value="value", time="timestamp"),
        alarm=config.AlarmSettings(budget_per_point=budget),
    )
    plan = assembly.plan(stream, model.card, config.Limits(max_sensors=rings))
    line = assembly.Line(stream, model, Pipeline(plan, model.card))
    summary = Summary()
    table = Table(one.name, one.t, one.values, list(one.columns), 0)
    parts = tuple(daemon_replay.replay(line, [table], summary))
    sensors = tuple(line.pipeline.names)
    n = len(one.t)
    raw, score, on = np.full((rings, n), np.nan, np.float32), np.full((rings, n), np.nan), np.zeros((rings, n), bool)
    for ring, name in enumerate(sensors):
        # the replay feeds one sensor after the other, so each part is of one alone
        mine = [part for part in parts if len(part) and part.sensor[0] == name]
        if not mine:
            continue
        window = _windows(one.t, np.concatenate([part.t for part in mine]))
        from_first = window >= 0
        at = window[from_first]
        raw[ring, from_first] = np.concatenate([part.raw for part in mine])[at]
        score[ring, from_first] = np.concatenate([part.score for part in mine])[at]
        on[ring, from_first] = np.concatenate([part.alarm for part in mine])[at]
    return Replayed(sensors, raw, score, on, parts, summary.windows_scored, summary.seconds, tuple(summary.raised))


def _windows(t: F64, ends: F64) -> I64:
    """Return, for each row, which window is the newest there, -1 before the first.

    t: (n,) stamps of the rows, which may repeat or go back; ends: (windows,) stamps of some of them, in their order.
    """
    if (np.diff(t) > 0).all():
        rows = np.searchsorted(t, ends)
    else:
        rows, row = np.zeros(len(ends), np.int64), 0
        for k, end in enumerate(ends.tolist()):
            while t[row] != end:
                row += 1
            rows[k] = row
            row += 1
    newest = np.full(len(t), -1, np.int64)
    newest[rows] = np.arange(len(ends))
    running: I64 = np.maximum.accumulate(newest)
    return running
