"""A race of candidates in rungs, over processes, on disk as it goes: what both of a study's races do."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from training.history import findings
from training.judge.crew import Crew, Failed
from training.study import jobs, race
from training.study.jobs import Job
from training.study.race import Key, Standing
from training.study.rounds import Rounds

EVERY = 10  # rounds between two lines of progress


@dataclass(slots=True)
class Contest:
    """name: of the race, for what it says. quality: which figure of a round. cases: labelled series, 0 without.

    apart: whether each detector races for itself. going_on: who goes into the next rung. processes: at once. until: on
    the monotonic clock, when no more results are waited for. told: how all stand. out_after: the rung that a candidate
    stopped after. failed: those that came to nothing, and why. late: the time was up before the end.
    """

    name: str
    rounds: Rounds
    quality: str
    cases: int
    apart: bool
    job: Callable[[Key, int], Job]
    going_on: Callable[[Mapping[Key, Standing]], list[Key]]
    processes: int
    until: float = float("inf")
    told: dict[Key, Standing] = field(default_factory=dict)
    out_after: dict[Key, int] = field(default_factory=dict)
    failed: dict[Key, str] = field(default_factory=dict)
    late: bool = False

    def run(self, keys: Sequence[Key], rungs: Sequence[int], say: Callable[[str], None]) -> None:
        """Race until the last rung is done or the time is up; rounds that are known are not done again.

        rungs: rounds that a candidate has behind it after each.
        """
        every, going = list(keys), list(keys)
        began, done = time.monotonic(), 0
        with Crew(jobs.work, self.processes) as crew:
            for place, rung in enumerate(rungs):
                wanted = [
                    self.job(key, number)
                    for number in range(rung) for key in going if number not in self.rounds.known.get(key, {})
                ]  # fmt: skip
                later = sum((b - a) * max(2, len(going) >> k) for k, (a, b) in enumerate(pairwise(rungs[place:]), 1))
                for job in wanted:
                    crew.submit(job)
                left = len(wanted)
                for job, answer in crew.results():
                    done, left = done + 1, left - 1
                    if isinstance(answer, Failed):
                        self.failed[job.key] = answer.why
                    else:
                        self.rounds.add(job.key, job.number, answer)
                    pace = (time.monotonic() - began) / done
                    if done % EVERY == 0 or not left:
                        most = min(pace * (left + later), self.until - time.monotonic())
                        say(
                            f"{self.name}, rung {place + 1} of {len(rungs)}: {len(wanted) - left}/{len(wanted)} "
                            f"rounds, {len(going)} candidates; at most {findings.duration(max(1, most))} left"
                        )
                    if time.monotonic() > self.until and (left or rung != rungs[-1]):
                        self.late = True
                        break
                self.stand(every, rung)  # a race that goes on decides as one that was never stopped
                if self.late:
                    return
                if rung != rungs[-1]:
                    staying = self.going_on({key: self.told[key] for key in going if key in self.told})
                    self.out_after |= dict.fromkeys([key for key in going if key not in staying], place + 1)
                    going = [key for key in going if key in staying]

    def stand(self, keys: Sequence[Key], before: int | None = None) -> None:
        """Take note of how the candidates stand after all rounds that are known, or those before one."""
        found = {key: self.rounds.values(key, self.quality, before) for key in keys if self.rounds.known.get(key)}
        if self.cases > 1:
            found = {key: by_case(values, self.cases) for key, values in found.items()}
        self.told = race.standings({key: values for key, values in found.items() if values}, self.apart)

    def mean(self, key: Key, name: str) -> float | None:
        """Return a figure of a candidate, mean over its rounds, None where there is none."""
        known = [value for value in self.rounds.values(key, name) if np.isfinite(value)]
        return float(np.mean(known)) if known else None


def by_case(values: list[float], cases: int) -> list[float]:
    """Return the mean over fits of each labelled series: fits of one series are no independent evidence.

    values: of one fit of every series, then of the next fit; the last may be cut short.
    """
    spare = -len(values) % cases if len(values) > cases else 0
    rows = np.array([*values, *[np.nan] * spare]).reshape(-1, cases if len(values) > cases else len(values))
    known = np.isfinite(rows).sum(axis=0)
    sums = np.nansum(rows, axis=0)
    return [float(total / count) if count else float("nan") for total, count in zip(sums, known, strict=True)]
