"""What a benchmark says, and how two things are compared: side by side in one run, as absolute times drift."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Fact:
    """One measured figure.

    value: None where it could not be measured, with `why`. n: how many measurements it is the median of; p99: their
    99 % quantile. note: what else a reader wants, such as the absolute figures behind a ratio. unit, target and
    against stand in `promises` for the names that have a promise there, and are given here by the others. command: what
    measures it, where that is not its script.
    """

    name: str
    value: float | None
    n: int = 1
    p99: float | None = None
    note: str = ""
    why: str = ""
    unit: str = ""
    target: str = ""
    against: str = ""
    command: str = ""

    def fields(self) -> dict[str, Any]:
        return asdict(self)


def absent(name: str, why: str) -> Fact:
    """Return a fact that could not be measured, and why."""
    return Fact(name, None, 0, why=why)


@dataclass(frozen=True, slots=True)
class Sides:
    """Seconds that two things took in turn, (rounds,) each."""

    ours: np.ndarray
    other: np.ndarray

    @property
    def ratios(self) -> np.ndarray:
        """Ours over the other's, round by round."""
        return self.ours / self.other

    def ratio(self, name: str, note: str = "", **fields: str) -> Fact:
        """Return the median of ours over the other's: what ours costs."""
        return self._fact(name, self.ratios, note, fields)

    def gain(self, name: str, note: str = "", **fields: str) -> Fact:
        """Return the median of the other's over ours: how much faster ours is."""
        return self._fact(name, 1 / self.ratios, note, fields)

    def _fact(self, name: str, ratios: np.ndarray, note: str, fields: dict[str, str]) -> Fact:
        times = f"{1e3 * np.median(self.ours):.3f} ms against {1e3 * np.median(self.other):.3f} ms"
        note = f"{times}; {note}" if note else times
        return Fact(name, float(np.median(ratios)), len(ratios), float(np.quantile(ratios, 0.99)), note, **fields)


def side_by_side(
    ours: Callable[[], object],
    other: Callable[[], object],
    rounds: int = 15,
    *,
    warm: int = 1,
    clock: Callable[[], float] = time.perf_counter,
    before: Callable[[], object] = lambda: None,
) -> Sides:
    """Time two functions in turn, A B A B ...; `warm` rounds are not counted.

    clock: time.process_time counts the CPU seconds of all threads instead. before: runs untimed before each round.
    """
    taken = np.empty((rounds, 2))
    for number in range(-warm, rounds):
        before()
        for side, run in enumerate((ours, other)):
            begin = clock()
            run()
            taken[max(number, 0), side] = clock() - begin
    return Sides(taken[:, 0], taken[:, 1])
