"""The presets on a GPU through the daemon's own model door: windows per second by batch, and ten thousand sensors.

Each preset in float32 and fp16 with plain runs, with bound buffers and with CUDA graphs, batches of 1 to 4,096. Without
a GPU every figure is null: nothing was tuned on one.

python -m tests.bench.gpu: those, and float32, fp16 and int8 on TensorRT, which builds engines for minutes.
python -m tests.bench.gpu cpu: the same ways through the code on the CPU, to see that the script runs; no figures.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from daemon.core.model import Model
from daemon.core.providers import gpu_there
from daemon.errors import ConfigError
from tests.bench import graphs, precision
from tests.bench.facts import Fact, absent
from tests.bench.results import line
from tests.bench.scoring import Plant

BATCHES = tuple(2**power for power in range(13))
SENSORS = 10_000
#: Seconds for one batch of one way; all of them together stay below the script's limit.
BATCH_S, LEAST_ROUNDS = 0.1, 5
WAYS: dict[str, dict[str, Any]] = {
    "plain": {"bind": False},
    "bound": {"bind": True},
    "graphs": {"cuda_graphs": True},
    "tensorrt": {"tensorrt": True},
}
#: CUDA has hardly any kernels for int8 with quantize and dequantize nodes around; TensorRT is made for them.
PLACES = [(low, way) for low in ("float32", "fp16", "int8") for way in WAYS if low != "int8" or way == "tensorrt"]
#: Where nothing else is said, what the daemon does by itself.
USUAL = ("float32", "bound")


def facts(tensorrt: bool = False) -> Iterator[Fact]:
    if not gpu_there():
        for what in ("windows_hz", "latency_ms_10k"):
            yield from (absent(f"gpu_{what}_{size}", "no GPU on this machine") for size in graphs.SIZES)
        return
    with tempfile.TemporaryDirectory() as folder:
        for size in graphs.SIZES:
            yield from figures(size, Path(folder), [one for one in PLACES if tensorrt or one[1] != "tensorrt"])


def figures(size: str, folder: Path, places: list[tuple[str, str]], gpu: str = "require") -> Iterator[Fact]:
    """Yield one preset's figures; null with the reason where a way does not run."""
    files = {"float32": graphs.save(size, folder)}
    files |= {low: precision.convert(files["float32"], low, folder) for low in ("fp16", "int8")}
    for low, way in places:
        name = f"gpu_windows_hz_{size}" + ("" if (low, way) == USUAL else f"_{low}_{way}")
        try:
            settings = WAYS[way] if gpu == "require" else {"bind": WAYS[way].get("bind")}
            model = Model(files[low], gpu=gpu, **settings)  # type: ignore[arg-type]
        except ConfigError as error:
            yield absent(name, str(error))
            if (low, way) == USUAL:
                yield absent(f"gpu_latency_ms_10k_{size}", str(error))
            continue
        yield throughput(name, model, f"{low}, {way}")
        if (low, way) == USUAL:
            yield latency(size, model)


def throughput(name: str, model: Model, told: str) -> Fact:
    """Windows per second at the best batch; all batches in the note."""
    shape = (model.card.window, len(model.card.channels))
    rate = {}
    for n in (n for n in BATCHES if n <= model.largest_batch):
        x = np.random.default_rng(0).standard_normal((n, *shape), np.float32)
        model.run(x)
        taken: list[float] = []
        until = time.perf_counter() + BATCH_S
        while len(taken) < LEAST_ROUNDS or time.perf_counter() < until:
            begin = time.perf_counter()
            model.run(x)
            taken.append(time.perf_counter() - begin)
        rate[n] = n / float(np.median(taken))
    note = "; ".join([f"{n}: {hz:.0f}" for n, hz in rate.items()] + ([model.fallback] if model.fallback else []))
    return Fact(name, max(rate.values()), 1, note=note, unit="windows/s", against=f"{model.provider}, {told}")


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


def main() -> None:
    if sys.argv[1:] != ["cpu"]:
        for fact in facts(tensorrt=True):
            print(line(fact, "gpu"))
        return
    with tempfile.TemporaryDirectory() as folder:
        for fact in figures("small", Path(folder), PLACES, gpu="off"):
            print(fact.name, "runs" if fact.value else fact.why)


if __name__ == "__main__":
    main()
