"""All that is known of a model on one history, gathered through the daemon's own replay, and its grade."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from daemon.core.model import Model
from daemon.core.pipeline import DEFAULT_BUDGET_PER_POINT
from daemon.core.records import F32, F64
from daemon.errors import DataError
from training.history.examples import Examples
from training.judge import cost, curves, evidence, scoring, seeing, standin
from training.judge.confusion import Confusion, confuse
from training.judge.cost import Cost
from training.judge.grade import Evidence, Grade, grade
from training.judge.held import Held
from training.judge.seeing import Seen


@dataclass(frozen=True, slots=True)
class ModelReport:
    """card: all of it. labelled: whether events are the user's own. budgets: as curves.achieved. training: epoch, then
    what was written down for it, by column. ranks: (recall, precision) by row, None where no row is labelled."""

    file: str
    data: str
    card: dict[str, Any]
    how: str
    hop: int
    budget: float
    labelled: bool
    cost: Cost
    seen: tuple[Seen, ...]
    clean: scoring.Alarms
    tried: scoring.Alarms
    streams: scoring.Alarms
    evidence: Evidence
    grade: Grade
    budgets: tuple[tuple[float, int, int], ...]
    ranks: tuple[F64, F64] | None
    confusion: Confusion | None
    training: dict[str, list[float]]

    @property
    def interval_s(self) -> float:
        """The median interval of the series judged."""
        return float(np.median([one.one.interval_s for one in self.seen]))


def make(
    file: Path,
    card: Mapping[str, Any],
    held: Held,
    name: str,
    say: Callable[[str], None] = lambda line: None,
    *,
    windows: tuple[Examples, str] | None = None,
    hop: int = 1,
    budget: float = DEFAULT_BUDGET_PER_POINT,
) -> ModelReport:
    """Judge a model file on what is held; name: of the data. windows: labelled ones for the confusion, and about them.

    Raises ConfigError where the model's channels are not there, DataError where no series could be scored; where only
    some could not, they are left out and the report says so.
    """
    model = Model(file, threads=1)
    window = model.card.window
    labelled = any(one.anomaly[one.train_end :].any() for one in held.series)
    tried = [standin.Faulty(one, ()) for one in held.series] if labelled else standin.into(held.series, window)
    seen: list[Seen] = []
    blank: list[DataError] = []
    for k, (one, faulty) in enumerate(zip(held.series, tried, strict=True), 1):
        say(f"{k}/{len(tried)} {one.name}: {len(one.t):,} rows")
        try:
            seen.append(seeing.see(model, one, faulty, hop, budget))
        except DataError as error:
            say(f"left out: {error}")
            blank.append(error)
    if not seen:
        raise blank[0]
    how = held.how + "".join(f" Left out: {error}." for error in blank)
    clean = scoring.total([seeing.asset(one.heard, one.one, window) for one in seen])
    streams = scoring.total([curves.per_stream(one.heard, one.one, window) for one in seen])
    total = scoring.total([one.judged.alarms for one in seen])
    say("alarms with other budgets")
    budgets = curves.achieved(model, [one.heard for one in seen], [one.one for one in seen], hop)
    confusion = confuse(model, held, windows)
    known = evidence.gather(model, card, held, seen, labelled, budget, total, streams, clean, confusion)
    found = np.concatenate([one.one.values[:window] for one in seen])
    x = found[:window] if len(model.card.channels) == found.shape[1] else found[:window, :1]
    return ModelReport(
        file.name, name, dict(card), how, hop, budget, labelled, cost.measure(model, _window(x, model)),
        tuple(seen), clean, total, streams, known, grade(known), tuple(budgets), _ranks(seen), confusion,
        _training(file),
    )  # fmt: skip


def _ranks(seen: Sequence[Seen]) -> tuple[F64, F64] | None:
    """Return precision over recall of all judged rows, by the raw score or, with several streams, the calibrated."""
    ranks, truths = [], []
    for one in seen:
        rank = one.tried_heard.raw[0].astype(np.float64)
        if len(one.tried_heard.raw) > 1:
            rank = np.fmax.reduce(one.tried_heard.score, axis=0)
        late = rank[one.tried.train_end :]
        ranks.append(np.where(np.isfinite(late), late, -np.inf))
        truths.append(one.tried.anomaly[one.tried.train_end :])
    truth = np.concatenate(truths)
    return curves.precision_recall(np.concatenate(ranks), truth) if truth.any() else None


def _window(x: F32, model: Model) -> F32:
    return np.resize(x, (1, model.card.window, len(model.card.channels))).astype(np.float32)


def _training(file: Path) -> dict[str, list[float]]:
    """Return the columns of the run folder's curves.csv, none where there is no such file. Raises DataError."""
    for folder in (file.with_suffix(".run"), file.with_name(file.name + ".run")):
        curve = folder / "curves.csv"
        if curve.is_file():
            break
    else:
        return {}
    try:
        with curve.open(newline="", encoding="utf-8") as opened:
            lines = list(csv.DictReader(opened))
        return {name: [float(line[name] or "nan") for line in lines] for name in (lines[0] if lines else ())}
    except (ValueError, TypeError, UnicodeDecodeError) as error:
        raise DataError(curve, "contents", str(error)[:100], "epoch,loss,check_loss as fit writes it") from None
