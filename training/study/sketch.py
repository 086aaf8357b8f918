"""A trunk as a model file with random weights: its time in ONNX Runtime is known before anything is fitted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper, save_model

from daemon.core.card import CONTRACT, KEY
from training.network.layers import Preset, cost, rows_after

OPSET = 17


def write(file: Path, preset: Preset, window: int, channels: int) -> Path:
    """Write the trunk with one output behind it. Raises ConfigError where the window is too short for it.

    As the export has them, convolutions are in two dimensions of which one is 1.
    """
    paper = cost(preset, 1, window, channels)
    rng = np.random.default_rng(0)
    nodes: list[NodeProto] = []
    constants: dict[str, Any] = {"axis": np.array([2]), "newest": np.array(-1)}
    at, rows, width = "window", window, channels

    def add(kind: str, *inputs: str, **attributes: Any) -> None:
        nonlocal at
        out = f"x{len(nodes)}"
        nodes.append(helper.make_node(kind, [at, *inputs], [out], **attributes))
        at = out

    def weights(shape: tuple[int, ...]) -> tuple[str, str]:
        name = f"w{len(constants)}"
        scale = float(np.prod(shape[1:])) ** -0.5
        constants[name] = rng.normal(0, scale, shape).astype(np.float32)
        constants[name + "b"] = np.zeros(shape[0], np.float32)
        return name, name + "b"

    add("Transpose", perm=[0, 2, 1])
    add("Unsqueeze", "axis")
    for layer in preset.layers:
        if layer.kind == "conv":
            left = (layer.kernel - 1) * layer.dilation if layer.padding == "causal" else 0
            add(
                "Conv", *weights((layer.filters, width, 1, layer.kernel)), kernel_shape=[1, layer.kernel],
                strides=[1, layer.stride], dilations=[1, layer.dilation], pads=[0, left, 0, 0],
            )  # fmt: skip
            add("Relu")
            rows, width = rows_after(layer, rows), layer.filters
        elif layer.kind == "pool":
            add("MaxPool", kernel_shape=[1, layer.kernel], strides=[1, layer.kernel])
            rows = rows_after(layer, rows)
        elif layer.kind == "dense":
            add("Gemm", *weights((layer.filters, width)), transB=1)
            add("Relu")
            width = layer.filters
        elif layer.kind == "newest":
            add("Gather", "newest", axis=3)
            add("Flatten", axis=1)
        elif layer.kind == "flatten":
            add("Flatten", axis=1)
            width *= rows
        else:
            add("GlobalMaxPool" if "max" in layer.kind else "GlobalAveragePool")
            add("Flatten", axis=1)
    add("Gemm", *weights((1, width)), transB=1)
    add("Softplus")
    constants["flat"] = np.array([-1])
    nodes.append(helper.make_node("Reshape", [at, "flat"], ["score"]))
    graph = helper.make_graph(
        nodes, "sketch",
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", window, channels])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"])],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    card = {
        "contract": CONTRACT, "name": preset.name, "version": "0", "window": window,
        "channels": [f"c{k}" for k in range(channels)], "parameters": paper.parameters, "macs": paper.macs,
        "receptive_field": paper.receptive_field,
    }  # fmt: skip
    helper.set_model_props(model, {KEY: json.dumps(card)})
    save_model(model, str(file))
    return file
