"""What fp16 and int8 gain on this CPU: each preset against its own float32 file, in turn, on one thread.

Random weights, ranges from random windows: speed alone is measured here; `anomalyd-train export` measures the loss.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from daemon.core.model import Model
from tests.bench import graphs
from tests.bench.facts import Fact, side_by_side
from training.network.precision import eight, half, trunk

ROUNDS = {"small": 60, "medium": 15, "large": 7}
#: Of one run. The larger is near what the daemon's warm-up chooses for each.
BATCHES = {"small": (1, 256), "medium": (1, 64), "large": (1, 16)}


def facts() -> Iterator[Fact]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for size in graphs.SIZES:
            yield from gains(size, folder)


def convert(file: Path, precision: str, folder: Path) -> Path:
    """Write a file in "fp16" or "int8", its ranges those of random windows; return it."""
    whole = trunk.load(file)
    shape = [axis.dim_value for axis in whole.graph.input[0].type.tensor_type.shape.dim[1:]]
    windows = np.random.default_rng(0).standard_normal((256, *shape), np.float32)
    low = half.convert(whole) if precision == "fp16" else eight.convert(whole, windows)
    card = json.loads(whole.metadata_props[0].value) | {"precision": precision}
    del low.metadata_props[:]
    onnx.helper.set_model_props(low, {"anomalyd": json.dumps(card)})
    onnx.save_model(low, str(folder / f"{file.stem}-{precision}.onnx"))
    return folder / f"{file.stem}-{precision}.onnx"


def gains(size: str, folder: Path) -> Iterator[Fact]:
    """Yield how many times as fast each precision is as float32 at the larger batch; the rest in the note."""
    file = graphs.save(size, folder)
    before = Model(file, threads=1)
    shape = (before.card.window, len(before.card.channels))
    rng = np.random.default_rng(0)
    for precision in ("fp16", "int8"):
        other = convert(file, precision, folder)
        after = Model(other, threads=1)
        told = []
        for batch in BATCHES[size]:
            x = rng.standard_normal((batch, *shape), np.float32)
            rounds = ROUNDS[size] * (4 if batch == 1 else 1)
            low_run, whole_run = partial(after.run, x), partial(before.run, x)
            sides = side_by_side(low_run, whole_run, rounds, clock=time.thread_time)
            told.append(f"{batch} at once: {np.median(1 / sides.ratios):.2f}")
        note = f"{'; '.join(told)}; {other.stat().st_size / file.stat().st_size:.2f} of the bytes"
        yield sides.gain(
            f"{precision}_gain_{size}", note, unit="x", against=f"the same file in float32, {batch} windows at once"
        )
