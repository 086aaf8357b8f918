"""The window study: from data and a budget to a recommended window, by a race of candidates; resumable."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from daemon.core.records import F32
from daemon.errors import DataError
from training.history import data
from training.history.data import History
from training.judge import split
from training.judge.crew import Crew, Failed
from training.study import candidates, characteristics, decide, detectors, labelled, pricing, quality, race
from training.study.candidates import Size
from training.study.characteristics import Characteristics
from training.study.cost import Cost
from training.study.decide import Decision
from training.study.labelled import Case
from training.study.pricing import Budget
from training.study.race import Key, Standing
from training.study.rounds import Rounds, open_rounds

RUNGS = (1, 2, 4)  # rounds of injected faults that a candidate has behind it after each
LABELLED_RUNGS = (12, 24, 48)  # labelled series (times seeds, where there are few)
MOST_ROWS = 8192  # of a series, the newest: for injected faults
MOST_FIT_ROWS = 20_000  # the same, where there are labels
MOST_SERIES = 6  # that injected faults are put into


@dataclass(frozen=True, slots=True)
class Order:
    """What to study. labels: whether to use them where there are any."""

    series: Sequence[History]
    name: str
    out: Path
    budget: Budget = field(default_factory=Budget)
    sizes: tuple[int, ...] | None = None
    detectors: tuple[str, ...] = detectors.CLOSED
    labels: bool = True
    jobs: int = 2


@dataclass(frozen=True, slots=True)
class Job:
    """One candidate's next round: a labelled case, or normal rows to put faults into."""

    key: Key
    number: int
    seed: int
    longest: int
    case: Case | None
    rows: F32 | None


@dataclass(slots=True)
class Study:
    """All that is known. cases: labelled series, 0 where faults stand in; stopped: Ctrl-C came.

    dear: candidates over the budget or impossible, and why. out_after: the rung that a candidate stopped after.
    """

    order: Order
    known: Characteristics
    sizes: list[Size]
    costs: dict[Key, Cost]
    dear: dict[Key, str]
    rounds: Rounds
    cases: int
    told: dict[Key, Standing] = field(default_factory=dict)
    out_after: dict[Key, int] = field(default_factory=dict)
    decision: Decision | None = None
    stopped: bool = False
    seconds: float = 0.0
    sample: F32 | None = None

    @property
    def labelled(self) -> bool:
        """Return whether there are labelled series to judge by."""
        return self.cases > 0

    @property
    def quality_is(self) -> str:
        """Return what the quality is called."""
        return "vus_pr" if self.labelled else "precision"

    def lift(self) -> dict[Key, float]:
        """Return the mean lift of each candidate that has one."""
        found = {key: self.rounds.values(key, "lift") for key in self.told}
        return {key: float(np.mean(values)) for key, values in found.items() if values}


def run(order: Order, say: Callable[[str], None]) -> Study:
    """Study; what is known is kept in `out`/rounds.jsonl. Ctrl-C ends the race, and what is known decides.

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
    about = {
        "fingerprint": data.fingerprint([one.values for one in series] + [case.values for case in cases]),
        "labelled": bool(cases), "sizes": [one.window for one in sizes if not one.refused],
        "detectors": list(order.detectors),
    }  # fmt: skip
    rounds = open_rounds(order.out / "rounds.jsonl", about)
    longest = max(series, key=lambda one: len(one.fit_rows()))
    study = Study(order, known, sizes, costs, dear, rounds, len(cases), sample=longest.fit_rows()[-4096:])
    try:
        _race(study, [one.fit_rows()[-MOST_ROWS:] for one in _longest(series)], cases, say)
    except KeyboardInterrupt:
        study.stopped = True
    study.told = _standings(study)
    study.seconds = time.monotonic() - began
    if study.told:
        study.decision = decide.decide(study.told, study.lift(), costs, known, sizes, study.cases, dear)
    return study


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


def _race(study: Study, normal: list[F32], cases: list[Case], say: Callable[[str], None]) -> None:
    order = study.order
    keys = sorted(study.costs, key=lambda key: (key[1], key[0]))
    longest = max(window for _, window in keys)
    rungs: tuple[int, ...] = LABELLED_RUNGS if study.labelled else RUNGS
    units: list[tuple[Case | None, F32 | None, int]] = []
    if study.labelled:
        seeds = 3 if len(cases) < 6 else 1
        mixed = [cases[k] for k in np.random.default_rng(0).permutation(len(cases))]  # neighbours are alike
        units += [(case, None, seed + 1) for seed in range(seeds) for case in mixed]
        rungs = tuple(dict.fromkeys(min(rung, len(units)) for rung in rungs))
    else:
        units += [(None, normal[k % len(normal)], k + 1) for k in range(rungs[-1])]
    began, done = time.monotonic(), 0
    with Crew(work, order.jobs) as crew:
        for place, rung in enumerate(rungs):
            jobs = [
                Job(key, number, units[number][2], longest, units[number][0], units[number][1])
                for number in range(rung) for key in keys if number not in study.rounds.known.get(key, {})
            ]  # fmt: skip
            left = len(jobs)
            later = sum((b - a) * max(2, len(keys) >> k) for k, (a, b) in enumerate(pairwise(rungs[place:]), 1))
            for job in jobs:
                crew.submit(job)
            for job, answer in crew.results():
                done, left = done + 1, left - 1
                if isinstance(answer, Failed):
                    study.dear[job.key] = answer.why
                    continue
                study.rounds.add(job.key, job.number, answer)
                pace = (time.monotonic() - began) / done
                if done % 10 == 0 or not left:
                    say(
                        f"rung {place + 1} of {len(rungs)}: {len(jobs) - left}/{len(jobs)} rounds, {len(keys)} "
                        f"candidates; at most {decide.duration(max(1, pace * (left + later)))} left"
                    )
            study.told = _standings(study)
            going = race.going_on(study.told, not study.labelled) if rung != rungs[-1] else keys
            for key in keys:
                if key not in going:
                    study.out_after[key] = place + 1
            keys = [key for key in keys if key in going]


def _standings(study: Study) -> dict[Key, Standing]:
    name = study.quality_is
    found = {key: study.rounds.values(key, name) for key in study.costs if study.rounds.known.get(key)}
    if study.cases > 1:
        found = {key: by_case(values, study.cases) for key, values in found.items()}
    return race.standings({key: values for key, values in found.items() if values}, not study.labelled)


def by_case(values: list[float], cases: int) -> list[float]:
    """Return the mean over fits of each labelled series: fits of one series are no independent evidence.

    values: of one fit of every series, then of the next fit; the last may be cut short.
    """
    spare = -len(values) % cases if len(values) > cases else 0
    rows = np.array([*values, *[np.nan] * spare]).reshape(-1, cases if len(values) > cases else len(values))
    known = np.isfinite(rows).sum(axis=0)
    sums = np.nansum(rows, axis=0)
    return [float(total / count) if count else float("nan") for total, count in zip(sums, known, strict=True)]


def work(job: Job) -> dict[str, Any]:
    """Do one round, in a process of the crew; return its figures as what JSON can hold."""
    detector, window = job.key
    if job.case is not None:
        if len(job.case.fit) < candidates.LEAST_WINDOWS * window or len(job.case.values) < window:
            return {"vus_pr": None, "seconds": 0.0}
        return _plain(asdict(labelled.judge(detector, window, job.case, job.seed)))
    assert job.rows is not None
    return _plain(asdict(quality.judge(detector, window, job.rows, job.longest, job.seed)))


def _plain(figures: dict[str, Any]) -> dict[str, Any]:
    def one(value: Any) -> Any:
        if isinstance(value, list):
            return [one(inner) for inner in value]
        if isinstance(value, float):
            return float(f"{value:.6g}") if np.isfinite(value) else None
        return value

    return {name: one(value) for name, value in figures.items()}
