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


def save(size: str, folder: Path, values: Sequence[np.ndarray] | None = None) -> Path:
    """Write a preset as a model file: score = logsumexp(logits) - logit of "normal". values: as `weights` gives."""
    preset = PRESETS[size]
    left = list(weights(preset) if values is None else values)
    nodes = [helper.make_node("Transpose", ["window"], ["x0"], perm=[0, 2, 1])]
    constants: dict[str, np.ndarray] = {"last": np.array([1]), "normal": np.array([0]), "one": np.array([1])}
    at, width = "x0", preset.channels

    def add(kind: str, *more: np.ndarray, **attributes: object) -> None:
        nonlocal at
        out, named = f"x{len(nodes)}", [f"w{len(constants) + i}" for i in range(len(more))]
        constants.update(zip(named, more, strict=True))
        nodes.append(helper.make_node(kind, [at, *named], [out], **attributes))
        at = out

    for layer in preset.layers:
        if layer.kind == "conv":
            kernel, bias = left.pop(0), left.pop(0)
            add("Conv", np.ascontiguousarray(kernel.transpose(2, 1, 0)), bias, kernel_shape=[layer.kernel])
            add("Relu")
            width = layer.filters
        elif layer.kind == "pool":
            add("MaxPool", kernel_shape=[layer.kernel], strides=[layer.kernel])
        elif layer.kind == "flatten":
            add("Flatten")
            kernel = left[0]  # Keras flattens rows x filters, here lie filters x rows
            rows = len(kernel) // width
            left[0] = kernel.reshape(rows, width, -1).transpose(1, 0, 2).reshape(kernel.shape)
        else:
            add("Gemm", np.ascontiguousarray(left.pop(0)), left.pop(0))
            add("Relu")
    add("Gemm", left.pop(0), left.pop(0))
    nodes += [
        helper.make_node("Softmax", [at], ["class_probability"], axis=1),
        helper.make_node("ReduceLogSumExp", [at, "last"], ["all"], keepdims=0),
        helper.make_node("Gather", [at, "normal"], ["column"], axis=1),
        helper.make_node("Squeeze", ["column", "one"], ["chosen"]),
        helper.make_node("Sub", ["all", "chosen"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        size,
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", preset.window, preset.channels])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info("class_probability", TensorProto.FLOAT, ["N", len(CLASSES)]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    said = card(preset.window, preset.channels, name=size, classes=CLASSES, normal_class=CLASSES[0], head="classes")
    # a warm start, so that every sensor has a threshold, and one so high that nothing alarms
    said["calibration"] = {"hop": 1, "segments": [np.linspace(50, 60, 4096).tolist()], "noise_floor": 0.01}
    helper.set_model_props(model, {"anomalyd": json.dumps(said)})
    file = folder / f"{size}.onnx"
    onnx.save(model, file)
    return file
