"""One series judged: as it is, and where nothing is labelled, with faults put in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from daemon.core.model import Model
from daemon.core.records import F64
from daemon.errors import DataError
from training.history.data import History
from training.judge import evaluate, moments, replayed, scoring, standin
from training.judge.evaluate import Judged
from training.judge.moments import Moment
from training.judge.replayed import Replayed


@dataclass(frozen=True, slots=True)
class Seen:
    """One series, judged. one, heard: as it is; tried, tried_heard: with faults put in where nothing is labelled, else
    the same again. judged: of the tried one; moments: events of the tried one, false alarms of the one as it is."""

    one: History
    heard: Replayed
    tried: History
    tried_heard: Replayed
    judged: Judged
    moments: tuple[Moment, ...]


def see(model: Model, one: History, faulty: standin.Faulty, hop: int, budget: float) -> Seen:
    """Replay one series as it is and, where faulty has faults of its own, with them. Raises ConfigError, DataError."""
    window = model.card.window
    heard = replayed.over(model, one, hop, budget)
    if not heard.windows and len(one.t) >= window:
        expected = f"{window} rows in order of time without a long gap; anomalyd-train inspect says what is wrong"
        raise DataError(one.name, "windows", f"none in {len(one.t)} rows", expected)
    same = faulty.series is one or not faulty.kinds
    tried = one if same else faulty.series
    tried_heard = heard if same else replayed.over(model, tried, hop, budget)
    judged = evaluate.judge(tried_heard, tried, window)
    told = moments.moments(tried_heard, tried, window, faulty.kinds)
    if not same:
        told = [moment for moment in told if not moment.false] + moments.moments(heard, one, window)
    return Seen(one, heard, tried, tried_heard, judged, tuple(sorted(told, key=lambda moment: moment.start)))


def asset(heard: Replayed, one: History, window: int) -> scoring.Alarms:
    """Return the alarms of an asset, on while any of its streams is; rows >= train_end."""
    late = slice(one.train_end, None)
    return scoring.alarms(np.logical_or.reduce(heard.on, axis=0)[late], one.anomaly[late], window)


def near(one: History, model: Model) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which judged rows have a labelled row in their window."""
    late = one.anomaly[one.train_end :]
    total = np.concatenate([[0], np.cumsum(late)])
    first = np.maximum(np.arange(len(late)) - model.card.window + 1, 0)
    near: np.ndarray[Any, np.dtype[np.bool_]] = total[1:] > total[first]
    return near


def highest(heard: Replayed) -> F64:
    """Return each row's calibrated score, (n,): of several streams the largest; NaN before the first."""
    found: F64 = np.fmax.reduce(heard.score, axis=0)
    return found
