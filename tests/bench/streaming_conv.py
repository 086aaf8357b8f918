"""An experiment: what it would gain to keep a preset's trunk columns per sensor and compute only the new ones.

A trunk column starts P rows after its neighbour (P: the product of the pools), so the columns of a window that starts a
multiple of P rows later are the old ones, shifted. At hop h a window has k = h / gcd(h, P) new columns beside those of
the window P / gcd(h, P) hops ago: so many sets of columns must be kept, one for each phase. The columns go into rings
as rows do. The dense layer behind Flatten sees all columns at new places and is computed in full.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort

from daemon.core.records import F32
from daemon.core.rings import Rings
from tests.bench import graphs
from tests.bench.facts import Fact, Sides, side_by_side
from training.network.architectures import PRESETS, Preset, cost

SENSORS = 64
ROUNDS = {"small": 60, "medium": 15, "large": 5}


def session(file: Path) -> ort.InferenceSession:
    """Open a session as the daemon does: one thread, no spinning."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


class Streaming:
    """SENSORS sensors, scored at every hop from kept columns."""

    def __init__(self, size: str, hop: int, folder: Path) -> None:
        preset = PRESETS[size]
        self.window, self.hop = preset.window, hop
        self.pool = math.prod(layer.kernel for layer in preset.layers if layer.kind == "pool")
        self.new = hop // math.gcd(hop, self.pool)
        self.phases = self.pool // math.gcd(hop, self.pool)
        self.columns = columns(preset)
        field = cost(preset, 1).receptive_field
        self._begin = (self.columns - self.new) * self.pool  # rows of the window that the new columns cover
        self._end = (self.columns - 1) * self.pool + field
        trunk, head, self.width = graphs.halves(size, folder, self._end - self._begin)
        self._trunk, self._head = session(trunk), session(head)
        whole, _, _ = graphs.halves(size, folder, self.window)
        self._whole = session(whole)
        self._kept = [Rings(SENSORS, self.columns, self.width, self.new) for _ in range(self.phases)]
        self.turn = 0
        every = np.arange(SENSORS, dtype=np.int32)
        self._sensor = {n: np.repeat(every, n) for n in (self.new, self.columns)}
        for kept in self._kept:
            kept.reset(every)

    def step(self, x: F32) -> F32:
        """Return logits (SENSORS, K) of windows x (SENSORS, W, C); only their last rows are read, but at first."""
        kept = self._kept[self.turn % self.phases]
        if self.turn < self.phases:
            fresh = self._whole.run(None, {"rows": x})[0]
        else:
            fresh = self._trunk.run(None, {"rows": np.ascontiguousarray(x[:, self._begin : self._end])})[0]
        self.turn += 1
        n = fresh.shape[1]
        (runs,) = kept.passes(self._sensor[n], np.zeros(n * SENSORS, np.bool_))
        (due,) = kept.push(runs, fresh.reshape(-1, self.width), np.ones(n * SENSORS, np.bool_))
        return self._head.run(None, {"columns": due.gather(slice(None))})[0]


def columns(preset: Preset) -> int:
    """Return how many columns the trunk gives of a window."""
    rows = preset.window
    for layer in preset.layers:
        rows = (
            rows - layer.kernel + 1 if layer.kind == "conv" else rows // layer.kernel if layer.kind == "pool" else rows
        )
    return rows


def compare(size: str, hop: int, folder: Path) -> tuple[Sides, Streaming]:
    """Return the times of both ways; their logits must agree."""
    streaming, full = Streaming(size, hop, folder), session(graphs.save(size, folder))
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((SENSORS, streaming.window + 200 * hop, 1), np.float32)
    at = [0]

    def windows() -> F32:
        return np.ascontiguousarray(rows[:, at[0] * hop : at[0] * hop + streaming.window])

    for _ in range(2 * streaming.phases + 2):
        x = windows()
        at[0] += 1
        got = streaming.step(x)
        want = full.run(["class_probability"], {"window": x})[0]
        exact = np.exp(got - got.max(axis=1, keepdims=True))
        worst = np.abs(exact / exact.sum(axis=1, keepdims=True) - want).max()
        assert worst < 1e-5, f"{size} at hop {hop} differs by {worst}"
    x = windows()
    sides = side_by_side(
        lambda: streaming.step(x),
        lambda: full.run(["class_probability"], {"window": x}),
        ROUNDS[size],
        warm=2,
        clock=time.process_time,
    )
    return sides, streaming


def facts() -> Iterator[Fact]:
    for hop in (1, 4, 16):
        gains, notes = [], []
        with tempfile.TemporaryDirectory() as folder:
            for size in graphs.SIZES:
                sides, streaming = compare(size, hop, Path(folder))
                gains.append(float(np.median(1 / sides.ratios)))
                kept = streaming.phases * streaming.columns * streaming.width * 4
                notes.append(
                    f"{size} {gains[-1]:.2f} ({streaming.new} of {streaming.columns} columns new, {kept / 1024:.0f} KB "
                    f"of columns a sensor beside {streaming.window * 4 / 1024:g} KB of rows)"
                )
        note = "value: the middle of the presets; " + "; ".join(notes)
        yield Fact(f"streaming_conv_gain_hop{hop}", sorted(gains)[1], ROUNDS["medium"], note=note)
