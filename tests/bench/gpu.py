"""The presets on a GPU through the daemon's own model door: windows per second by batch, and ten thousand sensors.

Without a GPU every figure is null: nothing here was tuned on one, and the daemon has no GPU code beyond what is tested.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from daemon.core.model import Model, gpu_there
from daemon.errors import ConfigError
from tests.bench import graphs
from tests.bench.facts import Fact, absent
from tests.bench.scoring import Plant

BATCHES = tuple(2**power for power in range(13))
SENSORS = 10_000
NAMES = [f"gpu_{what}_{size}" for what in ("windows_hz", "latency_ms_10k") for size in graphs.SIZES]


def facts() -> Iterator[Fact]:
    if not gpu_there():
        yield from (absent(name, "no GPU on this machine") for name in NAMES)
        return
    with tempfile.TemporaryDirectory() as folder:
        for size in graphs.SIZES:
            try:
                model = Model(graphs.save(size, Path(folder)), gpu="require")
            except ConfigError as error:
                yield from (absent(name, str(error)) for name in NAMES if name.endswith(size))
                continue
            yield throughput(size, model)
            yield latency(size, model)


def throughput(size: str, model: Model) -> Fact:
    """Windows per second at the best batch; all batches in the note."""
    shape = (model.card.window, len(model.card.channels))
    rate = {}
    for n in (n for n in BATCHES if n <= model.largest_batch):
        x = np.random.default_rng(0).standard_normal((n, *shape), np.float32)
        model.run(x)
        taken = []
        for _ in range(20):
            begin = time.perf_counter()
            model.run(x)
            taken.append(time.perf_counter() - begin)
        rate[n] = n / float(np.median(taken))
    note = "; ".join(f"{n}: {hz:.0f}" for n, hz in rate.items())
    return Fact(f"gpu_windows_hz_{size}", max(rate.values()), 20, note=note, unit="windows/s", against=model.provider)


def latency(size: str, model: Model) -> Fact:
    """Milliseconds from one row of each of 10,000 sensors to all their scores: must stay below a second at 1 Hz."""
    plant = Plant(model, SENSORS)
    taken = []
    for _ in range(20):
        plant.feed()
        begin = time.perf_counter()
        plant.score()
        taken.append(1e3 * (time.perf_counter() - begin))
    return Fact(
        f"gpu_latency_ms_10k_{size}", float(np.median(taken)), len(taken), float(np.quantile(taken, 0.99)),
        unit="ms", target="<= 1000", against="10,000 sensors at 1 Hz",
    )  # fmt: skip
