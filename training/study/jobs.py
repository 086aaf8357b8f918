"""One round of one candidate, as a process of the crew does it: a labelled series, or faults put into normal rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from daemon.core.records import F32
from training.network.layers import Preset
from training.study import candidates, labelled, quality
from training.study.labelled import Case
from training.study.race import Key

SEEDS = 3  # fits of each series where there are few of them
FEW = 6


@dataclass(frozen=True, slots=True)
class Unit:
    """What all candidates are judged on in one round: a labelled case, or normal rows to put faults into."""

    seed: int
    case: Case | None = None
    rows: F32 | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One candidate's next round. longest: the largest window of the race. trunk: of a network.

    ahead: whether a round without labels is one fit, on the older rows.
    """

    key: Key
    number: int
    unit: Unit
    longest: int
    trunk: Preset | None = None
    ahead: bool = False


def units(normal: Sequence[F32], cases: Sequence[Case], rounds: int) -> list[Unit]:
    """Return what is judged, in order: the labelled series, mixed, each SEEDS times where they are FEW; or rounds."""
    if not cases:
        return [Unit(k + 1, rows=normal[k % len(normal)]) for k in range(rounds)]
    mixed = [cases[k] for k in np.random.default_rng(0).permutation(len(cases))]  # neighbours are alike
    if len(cases) < FEW:
        return [Unit(seed + 1, case) for seed in range(SEEDS) for case in mixed]
    return [Unit(1, case) for case in mixed]


def work(job: Job) -> dict[str, Any]:
    """Do one round; return its figures as what JSON can hold."""
    (detector, window), unit = job.key, job.unit
    if unit.case is not None:
        if len(unit.case.fit) < candidates.LEAST_WINDOWS * window or len(unit.case.values) < window:
            return {"vus_pr": None, "seconds": 0.0}
        return _plain(asdict(labelled.judge(detector, window, unit.case, unit.seed, job.trunk)))
    assert unit.rows is not None
    if job.ahead:
        return _plain(asdict(quality.ahead(detector, window, unit.rows, job.longest, unit.seed, job.trunk)))
    return _plain(asdict(quality.judge(detector, window, unit.rows, job.longest, unit.seed)))


def _plain(figures: dict[str, Any]) -> dict[str, Any]:
    def one(value: Any) -> Any:
        if isinstance(value, list):
            return [one(inner) for inner in value]
        if isinstance(value, float):
            return float(f"{value:.6g}") if np.isfinite(value) else None
        return value

    return {name: one(value) for name, value in figures.items()}
