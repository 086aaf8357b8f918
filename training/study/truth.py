"""What the study is judged by: for each labelled series, what every size comes to, and what each way chooses.

Cached line by line: a benchmark that was stopped goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from daemon.core.records import F32
from daemon.errors import DataError
from training.history import data
from training.history.data import History
from training.judge import split
from training.judge.crew import Crew, Failed
from training.study import candidates, detectors, labelled, models, quality, race, selectors
from training.study.labelled import Case
from training.study.race import Key
from training.study.study import MOST_FIT_ROWS, MOST_ROWS, RUNGS

SEEDS = {"lean": 3}  # fits of a detector with chance in it; the others are fitted once
FUSED_SIZES = (32, 64, 128, 256)  # of a head that looks at its window, a half and a quarter of it
STRETCH = 60_000  # rows that a model is judged on, at most: the first ones behind its fitting rows
DOZEN = {"nab": 6, "skab": 4, "cwru": 2}  # series that networks are fitted on, spread evenly over each pack


@dataclass(frozen=True, slots=True)
class One:
    """A series with events. place: in its pack's sorted list."""

    pack: str
    place: int
    case: Case

    @property
    def name(self) -> str:
        """What no two series share."""
        return f"{self.pack}/{self.case.name.split('.')[0]}"

    @property
    def tuned(self) -> bool:
        """Return whether constants may have been chosen on it: every second one."""
        return self.place % 2 == 0

    @property
    def channels(self) -> int:
        """Return how many sensors it has."""
        return int(self.case.values.shape[1])

    def sizes(self, detector: str) -> list[int]:
        """Return the sizes of the ladder that this detector can have here."""
        fitting = [w for w in candidates.LADDER if len(self.case.fit) >= candidates.LEAST_WINDOWS * w]
        if detector == models.FUSED:
            return [window for window in fitting if window in FUSED_SIZES] or fitting[:1]
        return [window for window in fitting if not detectors.able(detector, window, self.channels)]


@dataclass(frozen=True, slots=True)
class Job:
    """One line of the cache: the truth of one fit, or what the choices are."""

    kind: str
    one: One
    detector: str = ""
    window: int = 0
    seed: int = 1

    @property
    def key(self) -> str:
        """What no two lines share."""
        return f"{self.kind} {self.one.name} {self.detector} {self.window} {self.seed}"


def series(packs: Sequence[Path]) -> list[One]:
    """Return the series that are judged: those with labelled rows behind their fitting rows. Raises DataError."""
    found = []
    for path in packs:
        pack = data.read(path)
        cases = [case for case in (_case(pack, one) for one in split.tests(pack)) if case is not None]
        if not cases:
            raise DataError(path, "series", "none with role test and an event behind its fitting rows", "at least one")
        cases.sort(key=lambda case: case.name)
        found += [One(path.resolve().name, place, case) for place, case in enumerate(cases)]
    return found


def _case(pack: Sequence[History], one: History) -> Case | None:
    if not one.anomaly[one.train_end :].any():
        return None
    rows = max((other.fit_rows() for other in split.fitted_on(pack, one)), key=len, default=one.values[:0])
    return Case(one.name, rows, one.values, one.anomaly, one.train_end)


def jobs(every: Sequence[One], names: Sequence[str]) -> list[Job]:
    """Return all lines that a whole benchmark has; the network is fitted on a fixed dozen alone."""
    wanted = [Job("choice", one) for one in every if one.sizes("knn")]
    dozen = _dozen(every)
    for name in names:
        for one in dozen if name == detectors.LEAN else every:
            wanted += [
                Job("truth", one, name, window, seed + 1)
                for window in one.sizes(name) for seed in range(SEEDS.get(name, 1))
            ]  # fmt: skip
    return sorted(wanted, key=lambda job: job.seed)  # a benchmark that is stopped has a whole seed


def _dozen(every: Sequence[One]) -> list[One]:
    found = []
    for pack, count in DOZEN.items():
        mine = [one for one in every if one.pack == pack and one.sizes("knn")]
        if mine:
            found += [mine[k] for k in np.linspace(0, len(mine) - 1, min(count, len(mine))).astype(int)]
    return found


def run(wanted: Sequence[Job], file: Path, workers: int, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Return the lines by key, computing those that the file has not. Ctrl-C keeps what was done."""
    known = read(file)
    missing = [job for job in wanted if job.key not in known]
    file.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with Crew(work, workers) as crew, file.open("a", encoding="utf-8") as out:
        for job in missing:
            crew.submit(job)
        for done, (job, answer) in enumerate(crew.results(), 1):
            told = {"failed": answer.why} if isinstance(answer, Failed) else answer
            known[job.key] = told
            out.write(json.dumps({"key": job.key, **told}) + "\n")
            out.flush()
            if done % 20 == 0 or done == len(missing):
                left = (time.monotonic() - began) / done * (len(missing) - done)
                say(f"{done}/{len(missing)} lines, {left / 60:.1f} minutes left")
    return {job.key: known[job.key] for job in wanted}


def read(file: Path) -> dict[str, dict[str, Any]]:
    """Return the lines of a cache, failures left out; a last line that was cut off is none."""
    known: dict[str, dict[str, Any]] = {}
    if file.is_file():
        for line in file.read_text(encoding="utf-8").split("\n")[:-1]:
            try:
                one = json.loads(line)
                if "failed" not in one:
                    known[one.pop("key")] = one
            except (ValueError, KeyError, AttributeError) as error:
                raise DataError(file, "contents", repr(error)[:100], "what study-benchmark writes") from None
    return known


def work(job: Job) -> dict[str, Any]:
    """Compute one line, in a process of the crew."""
    if job.kind == "choice":
        return choices(job.one)
    began = time.process_time()
    case = job.one.case
    if job.detector in detectors.MODELS:
        stop = case.start + STRETCH
        case = replace(case, fit=case.fit[-MOST_FIT_ROWS:], values=case.values[:stop], anomaly=case.anomaly[:stop])
    found = labelled.judge(job.detector, job.window, case, job.seed)
    return {"vus_pr": round(found.vus_pr, 5), "f1": found.f1, "cpu_s": round(time.process_time() - began, 3)}


def choices(one: One) -> dict[str, Any]:
    """Return how a study judges the sizes of one series, by its fitting rows alone."""
    began = time.process_time()
    told = {name: judged(one, name, one.case.fit[-MOST_ROWS:]) for name in detectors.CLOSED}
    return {"judged": told, "cpu_s": round(time.process_time() - began, 3)}


def by_period(one: One) -> dict[str, int | None]:
    """Return what each selector takes: the median over sensors, None where no sensor has an answer."""
    told: dict[str, int | None] = {}
    for name, selector in selectors.SELECTORS.items():
        found = [selector(one.case.fit[:, k]) for k in range(one.case.fit.shape[1])]
        known = [value for value in found if value is not None]
        told[name] = round(float(np.median(known))) if known else None
    return told


def judged(one: One, name: str, rows: F32) -> dict[str, Any]:
    """Return {window: {"behind", "lift"}} of one detector, raced as a study does."""
    keys: list[Key] = [(name, window) for window in one.sizes(name)]
    if not keys:
        return {}
    longest = max(max(one.sizes(each)) for each in detectors.CLOSED if one.sizes(each))
    precision: dict[Key, list[float]] = {key: [] for key in keys}
    lift: dict[Key, list[float]] = {key: [] for key in keys}
    going, before = keys, 0
    for rung in RUNGS:
        for key in going:
            for number in range(before, rung):
                found = quality.judge(name, key[1], rows, longest, number + 1)
                precision[key] += found.precision
                lift[key] += found.lift
        going, before = race.going_on(race.standings(precision, True), True), rung
    told = race.standings(precision, True)
    return {
        str(key[1]): {"behind": round(told[key].behind, 4), "lift": round(float(np.mean(lift[key] or [0.0])), 4)}
        for key in keys if key in told
    }  # fmt: skip
