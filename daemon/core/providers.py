"""The one door to ONNX Runtime: sessions on the provider that is wanted, and why another one where it is not that.

Source of the CUDA options: FP32 stays FP32 (TF32 off) so that scores agree across providers; the arena grows by what is
asked; cuDNN's HEURISTIC search, as EXHAUSTIVE costs over half a second for each new shape.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort

from daemon.core import card as cards
from daemon.core import warmup
from daemon.core.records import F32
from daemon.errors import ConfigError, ModelError

Gpu = Literal["require", "prefer", "off"]

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
NO_GRAPH = "-1"  # of ONNX Runtime's gpu_graph_id: neither capture nor replay

_CUDA_OPTIONS = {"use_tf32": "0", "arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"}

runtime_version: str = ort.__version__


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the operator asks for; [inference] in docs/configuration.md."""

    gpu: Gpu = "off"
    threads: int = 0
    tensorrt: bool = False
    tensorrt_cache: Path | None = None
    cuda_graphs: bool = False

    def key(self, provider: str, graphs: bool) -> str:
        """Return which setting is not met by this provider, "" where all are."""
        if self.gpu != "off" and provider == CPU:
            return "gpu"
        if self.tensorrt and provider != TENSORRT:
            return "tensorrt"
        return "cuda_graphs" if self.cuda_graphs and not graphs else ""


@dataclass(frozen=True, slots=True)
class Rung:
    """A session to try, the best first. graphs: whether it replays CUDA graphs. last: nothing comes behind it."""

    session: Any
    provider: str
    graphs: bool
    last: bool

    @property
    def threads(self) -> int:
        """CPU threads that it computes with."""
        return int(self.session.get_session_options().intra_op_num_threads)


def rungs(file: Path, wanted: Wanted, missing: list[str]) -> Iterator[Rung]:
    """Yield sessions of a model, from what is wanted down to the CPU; the caller takes the first that runs.

    missing: is told why the better ones are not there. Raises ModelError where the file is no model, ConfigError where
    gpu is "require" and there is no GPU.
    """
    without = _without_gpu(wanted)
    if without:
        missing.append(without)
        if wanted.gpu == "require":
            raise refused("gpu", missing)
    if not file.is_file():
        raise ModelError(file, "file", "nothing there", "an .onnx file")
    tries: list[tuple[str, bool]] = []
    lacking = ""
    if wanted.gpu != "off" and not without:
        lacking = _preload()
        tries += [(TENSORRT, False)] if wanted.tensorrt else []
        tries += [(CUDA, True)] if wanted.cuda_graphs else []
        tries += [(CUDA, False)]
    for provider, graphs in tries:
        try:
            session = _session(file, wanted, provider, graphs)
        except Exception as error:  # ONNX Runtime raises bare classes of its own for every kind of failure
            missing.append(f"{_named(provider, graphs)}: {_plain(error)}")
            continue
        ran = session.get_providers()[0]
        if ran == provider:
            yield Rung(session, provider, graphs, last=False)
        else:  # its libraries did not load, of which ONNX Runtime tells nobody
            missing.append(f"{ran} ran instead of {_named(provider, graphs)}{f' ({lacking})' if lacking else ''}")
    try:
        session = _session(file, wanted, CPU, graphs=False)
    except Exception as error:
        raise ModelError(file, "loading", _plain(error), "an ONNX model that ONNX Runtime can run") from None
    yield Rung(session, CPU, graphs=False, last=True)


def refused(key: str, missing: list[str]) -> ConfigError:
    """Return the error for a setting of [inference] that gpu = "require" makes a must."""
    expected = {
        "gpu": "a GPU that ONNX Runtime can use",
        "tensorrt": "TensorRT's libraries, or tensorrt = false",
        "cuda_graphs": "a model that can be captured, or cuda_graphs = false",
    }[key]
    got = "'require'" if key == "gpu" else "true with gpu = 'require'"
    return ConfigError.one(f"inference.{key}", f"{got}, but {'; '.join(missing)}", expected)


def gpu_there() -> bool:
    """Return whether this machine shows an NVIDIA GPU."""
    return os.path.exists("/dev/nvidiactl") or os.path.exists("/dev/nvidia0")


def device(provider: str) -> str:
    """Return where a provider's tensors live, as `empty` takes it."""
    return "cpu" if provider == CPU else "cuda"


def empty(shape: tuple[int, ...], where: str) -> Any:
    """Return a float32 tensor of its own, to be bound, on "cpu" or "cuda"."""
    return ort.OrtValue.ortvalue_from_shape_and_type(list(shape), np.float32, where, 0)


def run_options(graph: str) -> Any:
    """Return options for one run that captures, then replays, the CUDA graph of this number; NO_GRAPH for none."""
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", graph)
    return options


def host(value: Any) -> F32:
    """Return a copy of a tensor's contents: on the CPU ONNX Runtime gives a view, which the next run would change."""
    return np.array(value.numpy(), np.float32)


def _session(file: Path, wanted: Wanted, provider: str, graphs: bool) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = wanted.threads or max(1, min(4, (os.cpu_count() or 1) // 2))
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what matters comes back as an exception or as the provider that ran
    # An idle pool that spins takes the core that ingest needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    chain: list[Any] = [CPU]
    if provider != CPU:
        chain.insert(0, (CUDA, _CUDA_OPTIONS | ({"enable_cuda_graph": "1"} if graphs else {})))
    if provider == TENSORRT:
        chain.insert(0, (TENSORRT, _tensorrt(file, wanted)))
    # Without its own fallback, which prints and goes on: why comes back to us.
    session = ort.InferenceSession(str(file), options, providers=chain, enable_fallback=0)
    session.disable_fallback()
    return session


def _preload() -> str:
    """Load the pip-installed CUDA libraries, where there are any; return the first that is lacking."""
    said = io.StringIO()
    with contextlib.suppress(AttributeError), contextlib.redirect_stdout(said):
        ort.preload_dlls()
    return next(iter(said.getvalue().splitlines()), "")[:200]


def _tensorrt(file: Path, wanted: Wanted) -> dict[str, str]:
    """Return TensorRT's options: one engine for all batches, so that no new one is built while data wait."""
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # as use_tf32 = 0, for which TensorRT has no option
    model = _session(file, wanted, CPU, graphs=False).get_modelmeta()
    card = cards.read(model.custom_metadata_map.get(cards.KEY), file)
    shape = (card.window, len(card.channels))
    most = warmup.most_windows(shape)
    found = {
        f"trt_profile_{name}_shapes": f"window:{n}x{shape[0]}x{shape[1]}"
        for name, n in (("min", 1), ("opt", min(256, most)), ("max", most))
    }
    if card.precision != "float32":
        found[f"trt_{card.precision}_enable"] = "1"
    if wanted.tensorrt_cache is not None:
        found |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(wanted.tensorrt_cache)}
    return found


def _without_gpu(wanted: Wanted) -> str:
    """Return why no GPU can be asked for, "" where one can, or is not wanted."""
    if wanted.gpu == "off":
        return ""
    if CUDA not in ort.get_available_providers():
        return f"onnxruntime {ort.__version__} was built without {CUDA}"
    return "" if gpu_there() else "this machine shows no NVIDIA GPU (no /dev/nvidia*)"


def _plain(error: Exception) -> str:
    """Return what an error says, without the place in ONNX Runtime's source that it begins with."""
    return re.sub(r"^/onnxruntime_src/.*?\) ", "", str(error).strip())[:300]


def _named(provider: str, graphs: bool) -> str:
    return f"{provider} with CUDA graphs" if graphs else provider
