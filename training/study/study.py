"""The window study: from data and a budget to a recommended window, by a race of candidates; resumable."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from daemon.core.records import F32
from daemon.errors import DataError
from training.history import data, findings
from training.history.data import History
from training.judge import split
from training.study import candidates, characteristics, decide, detectors, final, jobs, pricing, race, trunks, verdict
from training.study.candidates import Size
from training.study.characteristics import Characteristics
from training.study.contest import Contest
from training.study.cost import Cost
from training.study.decide import Decision
from training.study.final import Final
from training.study.jobs import Job
from training.study.labelled import Case
from training.study.pricing import Budget
from training.study.race import Key
from training.study.rounds import Rounds, open_rounds
from training.study.trunks import Trunk
from training.study.verdict import Verdict

RUNGS = (1, 2, 4)  # rounds of injected faults that a candidate has behind it after each
LABELLED_RUNGS = (12, 24, 48)  # labelled series (times seeds, where there are few)
MOST_ROWS = 8192  # of a series, the newest: for injected faults
MOST_FIT_ROWS = 20_000  # the same, where there are labels
MOST_SERIES = 6  # that injected faults are put into


@dataclass(frozen=True, slots=True)
class Order:
    """What to study. labels: whether to use them where there are any. minutes: for models that take long to fit."""

    series: Sequence[History]
    name: str
    out: Path
    budget: Budget = field(default_factory=Budget)
    sizes: tuple[int, ...] | None = None
    detectors: tuple[str, ...] = detectors.CLOSED
    labels: bool = True
    jobs: int = 2
    minutes: float = 5.0


@dataclass(slots=True)
class Study:
    """All that is known. cases: labelled series, 0 where faults stand in; stopped: Ctrl-C came.

    dear: candidates over the budget or impossible, and why. trunks: networks for the window, with their costs. final:
    the last race, None where it was not run. verdict: what `fit` should make, and how that compares.
    """

    order: Order
    known: Characteristics
    sizes: list[Size]
    costs: dict[Key, Cost]
    dear: dict[Key, str]
    first: Contest
    decision: Decision | None = None
    trunks: list[Trunk] = field(default_factory=list)
    final: Final | None = None
    verdict: Verdict | None = None
    stopped: bool = False
    seconds: float = 0.0
    sample: F32 | None = None

    @property
    def cases(self) -> int:
        """Return how many labelled series it is judged by."""
        return self.first.cases

    @property
    def labelled(self) -> bool:
        """Return whether there are labelled series to judge by."""
        return self.cases > 0


def run(order: Order, say: Callable[[str], None]) -> Study:
    """Study, and keep what is known in `out`/rounds.jsonl and models.jsonl. Ctrl-C ends a race: what is known decides.

    Raises ConfigError or DataError where no candidate is possible, or none meets the budget.
    """
    began = time.monotonic()
    series, cases = usable(order)
    known = characteristics.of(series)
    cases = cases if order.labels else []
    rows = int(np.median([len(case.fit) for case in cases])) if cases else known.rows
    sizes = candidates.sizes(known, rows, order.sizes)
    say(f"{order.name}: {len(series)} series, {known.rows:,} fitting rows in the longest, {len(known.sensors)} sensors")
    widest = max(one.window for one in sizes if not one.refused)
    cases = [case for case in cases if len(case.fit) >= candidates.LEAST_WINDOWS * widest]  # the same for all sizes
    costs, dear = pricing.prices(order.budget, order.detectors, series, known, sizes)
    about: dict[str, Any] = {
        "fingerprint": data.fingerprint([one.values for one in series] + [case.values for case in cases]),
        "labelled": bool(cases),
    }
    every = {"sizes": [one.window for one in sizes if not one.refused], "detectors": list(order.detectors)}
    normal = [one.fit_rows()[-MOST_ROWS:] for one in _longest(series)]
    first = _first(order, list(costs), open_rounds(order.out / "rounds.jsonl", about | every), normal, cases)
    longest = max(series, key=lambda one: len(one.fit_rows()))
    study = Study(order, known, sizes, costs, dear, first, sample=longest.fit_rows()[-4096:])
    keys = sorted(costs, key=lambda key: (key[1], key[0]))
    try:
        first.run(keys, _rungs(len(jobs.units(normal, cases, RUNGS[-1])), bool(cases)), say)
    except KeyboardInterrupt:
        study.stopped = True
    first.stand(keys)
    study.dear |= first.failed
    if first.told:
        lift = {key: value for key in keys if (value := first.mean(key, "lift")) is not None}
        study.decision = decide.decide(first.told, lift, costs, known, sizes, study.cases, dear)
        fewest = min((len(case.fit) for case in cases), default=known.rows)
        _beside(study, longest, fewest, about, normal, cases, say)
    study.seconds = time.monotonic() - began
    return study


def _first(order: Order, keys: list[Key], rounds: Rounds, normal: list[F32], cases: list[Case]) -> Contest:
    """Return the race of the detectors that are quick to fit, over all sizes."""
    units = jobs.units(normal, cases, RUNGS[-1])
    longest = max(window for _, window in keys)
    return Contest(
        "sizes", rounds, "vus_pr" if cases else "precision", len(cases), not cases,
        lambda key, number: Job(key, number, units[number], longest),
        lambda told: race.going_on(told, not cases), order.jobs,
    )  # fmt: skip


def _rungs(units: int, labelled: bool) -> tuple[int, ...]:
    rungs = LABELLED_RUNGS if labelled else RUNGS
    return tuple(dict.fromkeys(min(rung, units) for rung in rungs))


def _beside(
    study: Study, longest: History, rows: int, about: dict[str, Any], normal: list[F32], cases: list[Case],
    say: Callable[[str], None],
) -> None:  # fmt: skip
    """Set the window that was found beside networks, and beside what `fit` makes by itself, in the minutes there are.

    rows: for fitting, of the shortest series that is judged.
    """
    order, decision = study.order, study.decision
    assert decision is not None
    window, limit = decision.window, rows // candidates.LEAST_WINDOWS
    gpu, channels = pricing.GPU[order.budget.provider], len(study.known.sensors)
    near = _near(study.sizes, window, limit)
    study.trunks = trunks.beside(window, near, limit, study.known, order.budget.batch, gpu)
    if not order.minutes or study.stopped:
        study.verdict = verdict.verdict(None, decision, channels, limit, study.labelled, order.sizes)
        return
    until = time.monotonic() + 60 * order.minutes
    say(f"models for {window} rows, for at most {findings.duration(60 * order.minutes)}")
    found = study.final = Final()
    try:
        references = {key: study.costs[key] for key in study.costs if key[1] == window}
        final.entrants(found, references, study.trunks, window, limit, order.budget, longest)
        rounds = open_rounds(
            order.out / "models.jsonl", {**about, "longest": found.longest, "judged": final.MOST_JUDGED}
        )
        final.run(found, rounds, normal, cases, window, order.jobs, until, say)
    except KeyboardInterrupt:
        found.stopped = True
    study.stopped = found.stopped
    study.verdict = verdict.verdict(found, decision, channels, limit, study.labelled, order.sizes)


def _near(sizes: Sequence[Size], window: int, limit: int) -> list[int]:
    """Return the sizes next to this one, where the rows allow them."""
    fitting = sorted(one.window for one in sizes if not one.refused and one.window <= limit)
    smaller, larger = [one for one in fitting if one < window], [one for one in fitting if one > window]
    return [*smaller[-1:], *larger[:1]]


def usable(order: Order) -> tuple[list[History], list[Case]]:
    """Return the series to fit on, of the same sensors each, and the cases that labels make of them."""
    first = order.series[0]
    for one in order.series:
        if one.columns != first.columns:
            raise DataError(one.name, "columns", one.columns, f"{first.columns} as in {first.name}")
    fit = [one for one in order.series if len(one.fit_rows())]
    if not fit:
        raise DataError(order.name, "rows for fitting", 0, "normal rows before the first labelled one or --train-end")
    cases = []
    for one in order.series:
        start = len(one.fit_rows()) if one.role == "train" else one.train_end
        if not one.anomaly[start:].any():
            continue
        known = split.fitted_on(order.series, one) if not one.train_end else [one]
        rows = max((other.fit_rows() for other in known), key=len, default=one.values[:0])
        cases.append(Case(one.name, rows[-MOST_FIT_ROWS:], one.values, one.anomaly, start))
    return fit, cases


def _longest(series: Sequence[History]) -> list[History]:
    """Return the series to put faults into: the longest, at most MOST_SERIES."""
    most = max(len(one.fit_rows()) for one in series)
    alike = [one for one in series if len(one.fit_rows()) >= most // 2]
    return sorted(alike, key=lambda one: -len(one.fit_rows()))[:MOST_SERIES]
