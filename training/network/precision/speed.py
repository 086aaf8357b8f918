"""How fast two files are, side by side: timed in turn in one run, as absolute times drift with the machine's load."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from daemon.core.model import Model
from daemon.core.records import F32

BATCHES = (1, 256)
SECONDS = 0.5  # for one batch size, unless ROUNDS take longer
ROUNDS = 15


@dataclass(frozen=True, slots=True)
class Speed:
    """Windows per second of both at one batch, and the median over rounds of how many times as fast the second is."""

    batch: int
    before_hz: float
    after_hz: float
    gain: float


def compare(before: Model, after: Model, x: F32) -> list[Speed]:
    """Time both on the same windows, (N, W, C), at each batch up to N; the CPU time of this thread where it does all.

    The models must run on one thread on a CPU: then a machine that others use too does not disturb.
    """
    alone = before.provider == after.provider == "CPUExecutionProvider"
    clock = time.thread_time if alone else time.perf_counter
    found = []
    for batch in sorted({min(n, len(x), before.largest_batch, after.largest_batch) for n in BATCHES}):
        part = np.ascontiguousarray(x[:batch])
        taken: list[tuple[float, float]] = []
        begun = time.monotonic()
        while len(taken) <= ROUNDS or time.monotonic() < begun + SECONDS:
            taken.append((_time(before, part, clock), _time(after, part, clock)))
        a, b = np.array(taken[1:]).T  # the first round warms up
        found.append(Speed(batch, batch / float(np.median(a)), batch / float(np.median(b)), float(np.median(a / b))))
    return found


def _time(model: Model, x: F32, clock: Callable[[], float]) -> float:
    begin = clock()
    model.run(x)
    return clock() - begin
