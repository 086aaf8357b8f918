"""The presets as ONNX graphs that keep the contract, with weights of one's own: no TensorFlow needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.models import card
from training.network.architectures import PRESETS, Preset

CLASSES = ["normal", "spike", "level", "noise"]
SIZES = tuple(PRESETS)  # small, medium, large


def weights(preset: Preset, seed: int = 0) -> list[np.ndarray]:
    """Return random weights of a fair size, in Keras's order and layout: kernel, bias of each layer."""
    rng = np.random.default_rng(seed)
    rows, width, made = preset.window, preset.channels, []
    for layer in (*preset.layers, None):
        if layer is None:
            shape: tuple[int, ...] = (width, len(CLASSES))
        elif layer.kind == "conv":
            shape, rows = (layer.kernel, width, layer.filters), rows - layer.kernel + 1
        elif layer.kind == "pool":
            rows //= layer.kernel
            continue
        elif layer.kind == "flatten":
            width *= rows
            continue
        else:
            shape = (width, layer.filters)
        width = shape[-1]
        kernel = rng.normal(0, np.prod(shape[:-1]) ** -0.5, shape).astype(np.float32)
        made += [kernel, rng.normal(0, 0.1, width).astype(np.float32)]
    return made


class Sketch:
    """A graph in the making: one chain of nodes from an input, with its constants."""

    def __init__(self, at: str) -> None:
        self.at, self.nodes, self.constants = at, list[onnx.NodeProto](), dict[str, np.ndarray]()

    def add(self, kind: str, *constants: np.ndarray, out: str = "", **attributes: object) -> str:
        """Append a node that takes what the last one gave, and these constants."""
        names = [f"c{len(self.constants) + place}" for place in range(len(constants))]
        self.constants.update(zip(names, constants, strict=True))
        out = out or f"x{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [self.at, *names], [out], **attributes))
        self.at = out
        return out

    def trunk(self, preset: Preset, values: Sequence[np.ndarray]) -> int:
        """Append the convolutions and pools, (N, rows, C) -> (N, columns, F); return how many weights that took.

        As the export has them, in two dimensions of which one is 1: ONNX Runtime is up to 1.7 times as fast at those.
        """
        left = list(values)
        self.add("Transpose", perm=[0, 2, 1])
        self.add("Unsqueeze", np.array([2]))
        for layer in preset.layers:
            if layer.kind == "conv":
                kernel = np.ascontiguousarray(left.pop(0).transpose(2, 1, 0))[:, :, None]
                self.add("Conv", kernel, left.pop(0), kernel_shape=[1, layer.kernel])
                self.add("Relu")
            elif layer.kind == "pool":
                self.add("MaxPool", kernel_shape=[1, layer.kernel], strides=[1, layer.kernel])
        self.add("Squeeze", np.array([2]))
        self.add("Transpose", perm=[0, 2, 1])
        return len(values) - len(left)

    def head(self, values: Sequence[np.ndarray]) -> None:
        """Append the dense layers on (N, units): kernel, bias of each."""
        for place in range(0, len(values), 2):
            if place:
                self.add("Relu")
            self.add("Gemm", np.ascontiguousarray(values[place]), values[place + 1])

    def write(
        self, file: Path, inputs: dict[str, list[int]], outputs: dict[str, list[int]], card: dict[str, object] | None
    ) -> Path:
        """Write a model file; shapes are without the batch."""
        ends = [
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape]) for name, shape in side.items()]
            for side in (inputs, outputs)
        ]
        constants = [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        graph = helper.make_graph(self.nodes, file.stem, *ends, constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        if card is not None:
            helper.set_model_props(model, {"anomalyd": json.dumps(card)})
        onnx.save(model, file)
        return file


def save(size: str, folder: Path, values: Sequence[np.ndarray] | None = None) -> Path:
    """Write a preset as a model file: score = logsumexp(logits) - logit of "normal". values: as `weights` gives."""
    preset = PRESETS[size]
    values = weights(preset) if values is None else values
    sketch = Sketch("window")
    used = sketch.trunk(preset, values)
    sketch.add("Flatten")
    sketch.head(values[used:])
    logits = sketch.at
    sketch.add("Softmax", out="class_probability", axis=1)
    sketch.at = logits
    total = sketch.add("ReduceLogSumExp", np.array([1]), keepdims=0)
    sketch.at = logits
    sketch.add("Gather", np.array([0]), axis=1)
    chosen = sketch.add("Squeeze", np.array([1]))
    sketch.nodes.append(helper.make_node("Sub", [total, chosen], ["score"]))
    said = card(preset.window, preset.channels, name=size, classes=CLASSES, normal_class=CLASSES[0], head="classes")
    # a warm start, so that every sensor has a threshold, and one so high that nothing alarms
    said["calibration"] = {"hop": 1, "segments": [np.linspace(50, 60, 4096).tolist()], "noise_floor": 0.01}
    return sketch.write(
        folder / f"{size}.onnx",
        {"window": [preset.window, preset.channels]},
        {"score": [], "class_probability": [len(CLASSES)]},
        said,
    )


def halves(size: str, folder: Path, rows: int) -> tuple[Path, Path, int]:
    """Write a preset in two: raw rows (N, rows, C) -> trunk columns (N, k, F), and all columns -> logits.

    Returns both files and F.
    """
    preset = PRESETS[size]
    values = weights(preset)
    trunk, head = Sketch("rows"), Sketch("columns")
    used = trunk.trunk(preset, values)
    trunk.add("Identity", out="columns")
    width = len(values[used - 1])
    head.add("Flatten")
    head.head(values[used:])
    head.add("Identity", out="logits")
    count = len(values[used]) // width
    first = trunk.write(
        folder / f"{size}-trunk.onnx", {"rows": [rows, preset.channels]}, {"columns": [-1, width]}, None
    )
    second = head.write(folder / f"{size}-head.onnx", {"columns": [count, width]}, {"logits": [len(CLASSES)]}, None)
    return first, second, width
