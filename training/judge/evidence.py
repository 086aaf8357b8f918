"""What the grade rests on, from what was seen of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from daemon.core.calibration import FLOOR_MIN, FLOOR_SHARE
from daemon.core.model import Model
from daemon.core.records import F64
from training.judge import scoring, seeing
from training.judge.confusion import Confusion
from training.judge.grade import Evidence
from training.judge.held import Held
from training.judge.seeing import Seen

MARGIN = 0.1  # of a sensor's range while learning, on both sides


def gather(
    model: Model,
    card: Mapping[str, Any],
    held: Held,
    seen: Sequence[Seen],
    labelled: bool,
    budget: float,
    tried: scoring.Alarms,
    streams: scoring.Alarms,
    clean: scoring.Alarms,
    confusion: Confusion | None,
) -> Evidence:
    """Return what the rules of the grade look at. tried, streams, clean: alarms, as in ModelReport."""
    ranked = [one.judged for one in seen if one.judged.vus_pr is not None and one.judged.floor is not None]
    outside, channel = _outside(model, held)
    learnt = model.card.interval_s
    interval_s = float(np.median([one.one.interval_s for one in seen]))
    segments = model.card.calibration.segments
    named = [] if confusion is None or not confusion.labelled else zip(confusion.classes, confusion.counts, strict=True)
    return Evidence(
        labelled=labelled,
        apart=held.apart,
        events=tried.events,
        hit=tried.hit,
        alarms_true=tried.true,
        alarms_false=tried.false,
        stream_rows=streams.normal_rows,
        stream_false=streams.false,
        in_alarm=clean.normal_time_in_alarm,
        budget=budget,
        blocks=sum(len(one) * model.card.calibration.hop // model.card.window for one in segments),
        vus_pr=float(np.mean([one.vus_pr for one in ranked])) if ranked else None,
        floor=float(np.mean([one.floor for one in ranked])) if ranked else None,
        outside=outside,
        outside_channel=channel,
        shift=_shift(model, seen),
        interval=interval_s / learnt if learnt and interval_s else None,
        parity=card.get("parity"),
        interrupted=bool(card.get("training", {}).get("interrupted")),
        classes=tuple((name, int(row[k]), int(row.sum())) for k, (name, row) in enumerate(named)),
    )


def _outside(model: Model, held: Held) -> tuple[float | None, str]:
    """Return the largest share of judged normal time that a channel spends where it was not while learning, and which.

    Where it was: from its lowest to its highest fitting row, and MARGIN of that range beyond.
    """
    known = _range(model, held)
    normal = [one.values[one.train_end :][~one.anomaly[one.train_end :]] for one in held.series]
    if known is None or not sum(map(len, normal)):
        return None, ""
    low, high = known
    margin = np.maximum(MARGIN * (high - low), 1e-3 * np.maximum(np.abs(low), np.abs(high)))
    rows = np.concatenate(normal)
    share = ((rows < low - margin) | (rows > high + margin)).mean(axis=0)
    worst = int(np.argmax(share))
    return float(share[worst]), held.series[0].columns[worst]


def _range(model: Model, held: Held) -> tuple[F64, F64] | None:
    """Return the lowest and the highest value of each channel that the model learnt from; None where nobody knows.

    The card tells it; a file made before cards did is held against the fitting rows themselves.
    """
    card = model.card
    if card.inputs and all(one.columns == tuple(card.channels) for one in held.series):
        edges = [one.edges for one in card.inputs]
        return np.array([one[0] for one in edges], np.float64), np.array([one[-1] for one in edges], np.float64)
    if held.fit and sum(map(len, held.fit)):
        learnt = np.concatenate(held.fit).astype(np.float64)
        return learnt.min(axis=0), learnt.max(axis=0)
    return None


def _shift(model: Model, seen: Sequence[Seen]) -> float | None:
    """Return the median raw score of judged normal rows in that of the calibration scores, both above its floor."""
    card = model.card.calibration
    before = np.concatenate([np.asarray(one, np.float64) for one in card.segments] or [np.zeros(0)])
    now = np.concatenate(
        [one.heard.raw[:, one.one.train_end :][:, ~seeing.near(one.one, model)].ravel() for one in seen]
    )
    now = now[np.isfinite(now)]
    if not len(before) or not len(now):
        return None
    floor = max(FLOOR_SHARE * float(np.quantile(before, 0.99)), card.noise_floor, FLOOR_MIN)
    return float((np.median(now) + floor) / (np.median(before) + floor))
