"""Which batch is fastest, and how many windows fit into a given time: measured, on the machine at hand."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from daemon.core.records import F32

MOST_WINDOWS = 4096  # beyond it a batch gains nothing on a CPU and little on a GPU
MOST_INPUT_BYTES = 64 * 2**20
AS_GOOD = 1.02  # two batch sizes whose windows per second differ by no more are equally good
WARM_UP_S = 0.1  # how long batch sizes are compared, unless they take longer


def most_windows(shape: tuple[int, int]) -> int:
    """Return how many windows of (W, C) a batch may have, however fast it is."""
    return max(1, min(MOST_WINDOWS, MOST_INPUT_BYTES // (4 * shape[0] * shape[1])))


def batches(
    run: Callable[[F32], object], shape: tuple[int, int], max_batch_s: float, *, padded: bool, alone: bool
) -> tuple[int, int]:
    """Return how many windows to run at once, and how many in a row, so that they take max_batch_s at most.

    A GPU (padded) wants as many as it can get, and every bucket planned. A CPU is fastest while what the layers hand to
    each other stays in its caches (docs/performance.md): powers of two are tried until two in a row gain nothing, and
    the smallest that is as good as the best is taken, which is also the one that needs the least memory.

    run: scores windows (N, *shape). alone: this thread does all the work, so its own time counts, whoever else runs.
    """
    clock = time.thread_time if alone else time.perf_counter
    row, most = np.zeros((1, *shape), np.float32), most_windows(shape)

    def seconds(n: int) -> float:
        x = np.repeat(row, n, axis=0)
        start = clock()
        run(x)
        return clock() - start

    took: dict[int, float] = {}
    n, best, begun = 1, 1, time.perf_counter()
    while n <= most:
        run(np.repeat(row, n, axis=0))  # plans memory for this shape
        took[n] = seconds(n)
        if took[n] > max_batch_s and n > 1:
            del took[n]
            break
        if n / took[n] > AS_GOOD * best / took[best]:
            best = n
        if 1.5 * took[n] > max_batch_s or (n >= 4 * best and not padded):
            break
        n *= 2
    if padded:
        return max(took), max(took)
    while time.perf_counter() - begun < WARM_UP_S:  # in turn, so that what disturbs one size disturbs all
        for n in took:
            took[n] = min(took[n], seconds(n))
    rate = max(n / one for n, one in took.items())
    best = min(n for n, one in took.items() if AS_GOOD * n / one >= rate)
    return best, max(best, min(int(rate * max_batch_s), most))
