"""The ONNX contract: load a model file, hold it against its card, prove what runs it, warm up, run.

providers.py opens the sessions and is ONNX Runtime's one door; buffers.py binds memory to them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from daemon.core import card as cards
from daemon.core import providers, warmup
from daemon.core.buffers import Buffers, bucket_of
from daemon.core.card import Card
from daemon.core.providers import CPU, Rung, Wanted
from daemon.core.providers import Gpu as Gpu
from daemon.core.records import F32, Outputs
from daemon.errors import ModelError

TOLERANCE = 1e-5  # |a - b| <= TOLERANCE max(1, |a|) between two ways of computing one score on one provider
ROUGH = 1e-3  # the same in fp16 and int8, where float32's own rounding may turn a last digit, or step, of theirs

_OPTIONAL = {"class_probability": "classes", "channel_score": "channels", "time_score": "window"}


class _DidNotRunError(Exception):
    """A session that was opened fails when it runs; another one may not."""


class Model:
    """A loaded model that keeps the contract.

    card: what it says of itself. provider: what really ran the proving tensor, such as CPUExecutionProvider.
    fallback: why that is not all that was preferred (a GPU, TensorRT, CUDA graphs, bound buffers), or "". gpu_lost:
    there is a GPU, and it did not run, which is worse than having none. batch: windows that the session takes at once,
    where warm-up found it fastest. largest_batch: windows that `run` may be given, so that it takes max_batch_s at
    most. graphs: whether CUDA graphs are replayed. Not thread-safe: the pump owns it.
    """

    def __init__(
        self, file: str | Path, *, gpu: Gpu = "off", threads: int = 0, max_batch_s: float = 0.25,
        tensorrt: bool = False, tensorrt_cache: Path | None = None, cuda_graphs: bool = False, bind: bool | None = None,
    ) -> None:  # fmt: skip
        """Load and check `file`, prove the provider by a run, warm up.

        bind: whether runs go through buffers that are bound once; None: on a GPU. Raises ModelError where the file
        breaks the contract, ConfigError where `gpu` is "require" and what was asked for did not run.
        """
        self.file = Path(file)
        wanted = Wanted(gpu, threads, tensorrt, tensorrt_cache, cuda_graphs)
        missing: list[str] = []
        for rung in providers.rungs(self.file, wanted, missing):
            try:
                self._take(rung, bind, missing)
                self.batch, self.largest_batch = self._warm_up(rung, max_batch_s)
                break
            except _DidNotRunError as error:
                if rung.last:
                    raise ModelError(self.file, "a run on three windows", error, "scores") from None
                missing.append(f"{rung.provider} did not run: {str(error).strip()[:300]}")
        unmet = wanted.key(self.provider, self.graphs)
        if gpu == "require" and unmet:
            raise providers.refused(unmet, missing)
        self.fallback = "; ".join(missing)
        self.gpu_lost = gpu == "prefer" and self.provider == CPU and providers.gpu_there()

    def run(self, x: F32) -> Outputs:
        """Score windows.

        x: (N, W, C) float32 in raw units, N <= largest_batch; N = 0 is allowed. Returns arrays of N rows.
        """
        n = len(x)
        if n and self._buffers is not None:
            columns = self._buffers.run(x)
        elif n and self._padded:
            # Power-of-two buckets: a GPU plans each new shape afresh. The filler repeats a real row.
            filler = np.broadcast_to(x[-1:], (bucket_of(n) - n, *x.shape[1:]))
            columns = [column[:n] for column in self._run_plain(np.concatenate([x, filler]))]
        elif n <= self.batch:
            columns = self._run_plain(x)
        else:
            parts = [self._run_plain(x[part]) for part in self.batches(n)]
            columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return Outputs(**dict(zip(self._outputs, columns, strict=True)))

    def batches(self, n: int) -> list[slice]:
        """Return the parts of n windows that the session takes at once: as few as there can be, and alike in size."""
        parts = max(1, -(-n // self.batch))
        return [slice(n * part // parts, n * (part + 1) // parts) for part in range(parts)]

    def _take(self, rung: Rung, bind: bool | None, missing: list[str]) -> None:
        """Make a session this model's, and prove it. Raises _DidNotRunError where it does not run, ModelError else."""
        self._session, self.provider, self.graphs = rung.session, rung.provider, rung.graphs
        self.card = cards.read(self._session.get_modelmeta().custom_metadata_map.get(cards.KEY), self.file)
        self._outputs = _check_graph(self._session, self.card, self.file)
        self._plain = providers.run_options(providers.NO_GRAPH) if rung.graphs else None
        self._buffers: Buffers | None = None
        self._padded = rung.provider != CPU or bool(bind)
        try:
            self._prove()
            if rung.provider != CPU if bind is None else bind:
                self._bind(rung, missing)
        except ModelError:
            raise
        except Exception as error:  # ONNX Runtime raises bare classes of its own for every kind of failure
            raise _DidNotRunError(error) from error

    def _warm_up(self, rung: Rung, max_batch_s: float) -> tuple[int, int]:
        """Return what warmup.batches does. Raises _DidNotRunError."""
        shape = (self.card.window, len(self.card.channels))
        run = self._run_plain if self._buffers is None else self._buffers.run
        alone = rung.provider == CPU and rung.threads == 1
        try:
            return warmup.batches(run, shape, max_batch_s, padded=self._padded, alone=alone)
        except Exception as error:
            raise _DidNotRunError(error) from error

    def _prove(self) -> None:
        """Run real tensors: shapes as declared, finite scores, and no score that depends on its batch-mates."""
        x = self._samples()
        together = dict(zip(self._outputs, self._run_plain(x), strict=True))
        score, alone = together["score"], np.concatenate([self._run_plain(row[None])[0] for row in x])
        for name, rows in together.items():
            expected = (3,) if name == "score" else (3, _width(self.card, name))
            if rows.shape != expected:
                raise ModelError(self.file, f"shape of output {name}", rows.shape, expected)
        if not np.isfinite(score).all():
            raise ModelError(self.file, "scores of a zero and two noise windows", score.tolist(), "finite numbers")
        if not self._agree(score, alone):
            raise ModelError(
                self.file, "scores of three windows together", score.tolist(), f"those of each alone: {alone.tolist()}"
            )

    def _bind(self, rung: Rung, missing: list[str]) -> None:
        """Bind buffers, where runs through them give the plain runs' scores; without them a GPU still runs, slower."""
        shape = (self.card.window, len(self.card.channels))
        named = [(name, None if name == "score" else _width(self.card, name)) for name in self._outputs]
        x = self._samples()
        try:
            buffers = Buffers(rung.session, shape, named, providers.device(rung.provider), rung.graphs)
            # twice, and with other windows: a graph is captured the first time and replayed the second
            same = all(self._agree(self._run_plain(one)[0], buffers.run(one)[0]) for one in (x, x[::-1]))
        except Exception as error:
            if rung.graphs:
                raise  # a session for graphs is of no use without buffers: the next rung is one without
            missing.append(f"no bound buffers on {rung.provider}: {str(error).strip()[:300]}")
            return
        if same:
            self._buffers = buffers
        elif rung.graphs:
            raise RuntimeError("scores of bound buffers differ from those of a plain run")
        else:
            missing.append(f"no bound buffers on {rung.provider}: their scores differ from those of a plain run")

    def _samples(self) -> F32:
        """Return a zero window and two of noise, (3, W, C)."""
        shape = (self.card.window, len(self.card.channels))
        noise = np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)
        return np.concatenate([np.zeros((1, *shape), np.float32), noise])

    def _agree(self, one: F32, other: F32) -> bool:
        allowed = 10 * TOLERANCE if self.card.precision == "float32" else ROUGH
        return bool((np.abs(one - other) <= allowed * np.maximum(1, np.abs(one))).all())

    def _run_plain(self, x: F32) -> list[F32]:
        columns: list[F32] = self._session.run(self._outputs, {"window": x}, self._plain)
        return columns


def card_of(file: Path) -> Card:
    """Return a model's card without warming it up. Raises ModelError as Model does."""
    session = next(providers.rungs(file, Wanted(threads=1), [])).session
    card = cards.read(session.get_modelmeta().custom_metadata_map.get(cards.KEY), file)
    _check_graph(session, card, file)
    return card


def _check_graph(session: Any, card: Card, file: Path) -> list[str]:
    """Hold the graph against the card; return the outputs to ask for."""
    inputs = session.get_inputs()
    if [i.name for i in inputs] != ["window"]:
        raise ModelError(file, "inputs", [i.name for i in inputs], ["window"])
    window = inputs[0]
    if window.type != "tensor(float)":
        raise ModelError(file, "type of input window", window.type, "tensor(float)")
    if len(window.shape) != 3:
        raise ModelError(file, "shape of input window", window.shape, ["N", card.window, len(card.channels)])
    batch, rows, channels = window.shape
    if isinstance(batch, int):
        raise ModelError(file, "batch axis of input window", batch, "a dynamic axis")
    if rows != card.window:
        raise ModelError(file, "window", f"{rows} rows in the graph", f"{card.window} as the metadata says")
    if channels != len(card.channels):
        raise ModelError(
            file, "channels", f"{channels} in the graph", f"{len(card.channels)} as the metadata says: {card.channels}"
        )
    found = {output.name: output for output in session.get_outputs()}
    if "score" not in found:
        raise ModelError(file, "outputs", sorted(found), "one named score")
    wanted = ["score", *(name for name in _OPTIONAL if name in found)]
    for name in wanted:
        rank, shape = (1 if name == "score" else 2), found[name].shape
        if found[name].type != "tensor(float)":
            raise ModelError(file, f"type of output {name}", found[name].type, "tensor(float)")
        if len(shape) != rank or isinstance(shape[0], int):
            raise ModelError(file, f"shape of output {name}", shape, ["N"] if rank == 1 else ["N", _width(card, name)])
        if rank == 2 and isinstance(shape[1], int) and shape[1] != _width(card, name):
            raise ModelError(file, f"columns of output {name}", shape[1], f"{_width(card, name)} ({_OPTIONAL[name]})")
    return wanted


def _width(card: Card, name: str) -> int:
    value = getattr(card, _OPTIONAL[name])
    return value if isinstance(value, int) else len(value)
