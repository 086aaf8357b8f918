"""The ONNX contract and the one door to ONNX Runtime: load, check, prove the provider, warm up, run.

Source of the provider options: FP32 stays FP32 (TF32 off) so that scores agree across providers; the arena grows by
what is asked; cuDNN's HEURISTIC search, as EXHAUSTIVE costs over half a second for each new shape.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime as ort

from daemon.core import card as cards
from daemon.core.card import Card
from daemon.core.records import F32, Outputs
from daemon.errors import ConfigError, ModelError

Gpu = Literal["require", "prefer", "off"]

MOST_WINDOWS = 4096  # beyond it a batch gains nothing on a CPU and little on a GPU
MOST_INPUT_BYTES = 64 * 2**20
AS_GOOD = 1.02  # two batch sizes whose windows per second differ by no more are equally good
WARM_UP_S = 0.1  # how long batch sizes are compared, unless they take longer
TOLERANCE = 1e-5  # |a - b| <= TOLERANCE max(1, |a|) between two ways of computing one score on one provider
ROUGH = 1e-3  # the same in fp16 and int8, where float32's own rounding may turn a last digit, or step, of theirs

_CUDA = (
    "CUDAExecutionProvider",
    {"use_tf32": "0", "arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"},
)
_OPTIONAL = {"class_probability": "classes", "channel_score": "channels", "time_score": "window"}

runtime_version: str = ort.__version__


class Model:
    """A loaded model that keeps the contract.

    card: what it says of itself. provider: what really ran the proving tensor, such as CPUExecutionProvider.
    fallback: why that is not the GPU that was preferred, or "". gpu_lost: there is a GPU, and it did not run, which is
    worse than having none. batch: windows that the session takes at once, where warm-up found it fastest.
    largest_batch: windows that `run` may be given, so that it takes max_batch_s at most. Not thread-safe: the pump
    owns it.
    """

    def __init__(self, file: str | Path, *, gpu: Gpu = "off", threads: int = 0, max_batch_s: float = 0.25) -> None:
        """Load and check `file`, prove the provider by a run, warm up.

        Raises ModelError where the file breaks the contract, ConfigError where `gpu` is "require" and no GPU ran.
        """
        self.file = Path(file)
        self._session, self.fallback = _open(self.file, gpu, threads)
        self.gpu_lost = gpu == "prefer" and gpu_there()
        self.card = cards.read(self._session.get_modelmeta().custom_metadata_map.get(cards.KEY), file)
        self._outputs = _check_graph(self._session, self.card, self.file)
        self._prove()
        self.provider: str = self._session.get_providers()[0]
        if self.provider != _CUDA[0] and gpu != "off" and not self.fallback:
            self.fallback = f"{self.provider} ran instead"
        if gpu == "require" and self.provider != _CUDA[0]:
            raise ConfigError.one("inference.gpu", f"'require', but {self.fallback}", "a GPU that ONNX Runtime can use")
        self.gpu_lost &= self.provider != _CUDA[0]
        self._padded = self.provider == _CUDA[0]
        self._alone = not self._padded and self._session.get_session_options().intra_op_num_threads == 1
        self.batch, self.largest_batch = self._warm_up(max_batch_s)

    def run(self, x: F32) -> Outputs:
        """Score windows.

        x: (N, W, C) float32 in raw units, N <= largest_batch; N = 0 is allowed. Returns arrays of N rows.
        """
        n = len(x)
        if self._padded and n:
            # Power-of-two buckets: a GPU plans each new shape afresh. The filler repeats a real row.
            bucket = 1 << (n - 1).bit_length()
            x = np.concatenate([x, np.broadcast_to(x[-1:], (bucket - n, *x.shape[1:]))])
        if n <= self.batch:
            columns = self._session.run(self._outputs, {"window": x})
        else:
            parts = [self._session.run(self._outputs, {"window": x[part]}) for part in self.batches(n)]
            columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        found = dict(zip(self._outputs, columns, strict=True))
        return Outputs(
            score=found["score"][:n],
            **{name: found[name][:n] for name in _OPTIONAL if name in found},
        )

    def batches(self, n: int) -> list[slice]:
        """Return the parts of n windows that the session takes at once: as few as there can be, and alike in size."""
        parts = max(1, -(-n // self.batch))
        return [slice(n * part // parts, n * (part + 1) // parts) for part in range(parts)]

    def _prove(self) -> None:
        """Run real tensors: shapes as declared, finite scores, and no score that depends on its batch-mates."""
        shape = (self.card.window, len(self.card.channels))
        noise = np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)
        x = np.concatenate([np.zeros((1, *shape), np.float32), noise])
        try:
            together = self._run_plain(x)
            alone = np.concatenate([self._run_plain(row[None])["score"] for row in x])
        except Exception as error:  # ONNX Runtime raises bare classes of its own for every kind of failure
            raise ModelError(self.file, "a run on three windows", error, "scores") from None
        score = together["score"]
        for name, rows in together.items():
            expected = (3,) if name == "score" else (3, _width(self.card, name))
            if rows.shape != expected:
                raise ModelError(self.file, f"shape of output {name}", rows.shape, expected)
        if not np.isfinite(score).all():
            raise ModelError(self.file, "scores of a zero and two noise windows", score.tolist(), "finite numbers")
        allowed = 10 * TOLERANCE if self.card.precision == "float32" else ROUGH
        if not (np.abs(score - alone) <= allowed * np.maximum(1, np.abs(score))).all():
            raise ModelError(
                self.file, "scores of three windows together", score.tolist(), f"those of each alone: {alone.tolist()}"
            )

    def _run_plain(self, x: F32) -> dict[str, F32]:
        return dict(zip(self._outputs, self._session.run(self._outputs, {"window": x}), strict=True))

    def _warm_up(self, max_batch_s: float) -> tuple[int, int]:
        """Return how many windows to run at once, and how many in a row, so that they take max_batch_s at most.

        A GPU wants as many as it can get, and every bucket planned. A CPU is fastest while what the layers hand to each
        other stays in its caches (docs/performance.md): powers of two are tried until two in a row gain nothing, and
        the smallest that is as good as the best is taken, which is also the one that needs the least memory.
        """
        row = np.zeros((1, self.card.window, len(self.card.channels)), np.float32)
        most = max(1, min(MOST_WINDOWS, MOST_INPUT_BYTES // row.nbytes))
        took: dict[int, float] = {}
        n, best, begun = 1, 1, time.perf_counter()
        while n <= most:
            self._session.run(self._outputs, {"window": np.repeat(row, n, axis=0)})  # plans memory for this shape
            took[n] = self._time(np.repeat(row, n, axis=0))
            if took[n] > max_batch_s and n > 1:
                del took[n]
                break
            if n / took[n] > AS_GOOD * best / took[best]:
                best = n
            if 1.5 * took[n] > max_batch_s or (n >= 4 * best and not self._padded):
                break
            n *= 2
        if self._padded:
            return max(took), max(took)
        while time.perf_counter() - begun < WARM_UP_S:  # in turn, so that what disturbs one size disturbs all
            for n in took:
                took[n] = min(took[n], self._time(np.repeat(row, n, axis=0)))
        rate = max(n / seconds for n, seconds in took.items())
        best = min(n for n, seconds in took.items() if AS_GOOD * n / seconds >= rate)
        return best, max(best, min(int(rate * max_batch_s), most))

    def _time(self, x: F32) -> float:
        """Return the seconds of one run: this thread's own, where it does all the work and others share the machine."""
        clock = time.thread_time if self._alone else time.perf_counter
        start = clock()
        self._session.run(self._outputs, {"window": x})
        return clock() - start


def gpu_there() -> bool:
    """Return whether this machine shows an NVIDIA GPU."""
    return os.path.exists("/dev/nvidiactl") or os.path.exists("/dev/nvidia0")


def card_of(file: Path) -> Card:
    """Return a model's card without warming it up. Raises ModelError as Model does."""
    session, _ = _open(file, "off", 1)
    card = cards.read(session.get_modelmeta().custom_metadata_map.get(cards.KEY), file)
    _check_graph(session, card, file)
    return card


def _open(file: Path, gpu: Gpu, threads: int) -> tuple[ort.InferenceSession, str]:
    """Return a session on the GPU where wanted and possible, and why it is not there."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or max(1, min(4, (os.cpu_count() or 1) // 2))
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what matters comes back as an exception or as the provider that ran
    # An idle pool that spins takes the core that ingest needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    fallback = ""
    providers: list[object] = ["CPUExecutionProvider"]
    if gpu != "off":
        if _CUDA[0] not in ort.get_available_providers():
            fallback = f"onnxruntime {ort.__version__} was built without {_CUDA[0]}"
        elif not gpu_there():
            fallback = "this machine shows no NVIDIA GPU (no /dev/nvidia*)"
        else:
            providers.insert(0, _CUDA)
            with contextlib.suppress(AttributeError):  # loads the pip-installed CUDA libraries, where there are any
                ort.preload_dlls()
    if gpu == "require" and fallback:
        raise ConfigError.one("inference.gpu", f"'require', but {fallback}", "a GPU that ONNX Runtime can use")
    if not file.is_file():
        raise ModelError(file, "file", "nothing there", "an .onnx file")
    try:
        session = ort.InferenceSession(str(file), options, providers=providers)
    except Exception as error:  # ONNX Runtime raises bare classes of its own for every kind of failure
        raise ModelError(file, "loading", str(error).strip()[:300], "an ONNX model that ONNX Runtime can run") from None
    session.disable_fallback()
    return session, fallback


def _check_graph(session: ort.InferenceSession, card: Card, file: Path) -> list[str]:
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
