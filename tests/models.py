"""Tiny hand-made ONNX models whose answer is known on paper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def card(window: int, channels: int, **changes: Any) -> dict[str, Any]:
    return {
        "contract": 1,
        "name": "tiny",
        "version": "1",
        "window": window,
        "channels": [f"c{i}" for i in range(channels)],
        "hop": 1,
        "head": "mean",
        "calibration": {"hop": 1, "segments": [], "noise_floor": 0.01},
    } | changes


def mean_abs(
    folder: Path,
    window: int = 8,
    channels: int = 1,
    *,
    name: str = "tiny.onnx",
    batch: str | int = "N",
    score: str = "score",
    crosstalk: bool = False,
    metadata: dict[str, Any] | str | None = None,
    classes: bool = False,
    **changes: Any,
) -> Path:
    """score = mean |x| over the window's rows and channels. channel_score = mean |x| of each channel,
    time_score = mean |x| of each row; with classes: class_probability (calm, loud) = (.25, .75)."""
    nodes = [
        helper.make_node("Abs", ["window"], ["size"]),
        helper.make_node("ReduceMean", ["size", "both"], [score], keepdims=0),
        helper.make_node("ReduceMean", ["size", "rows"], ["channel_score"], keepdims=0),
        helper.make_node("ReduceMean", ["size", "columns"], ["time_score"], keepdims=0),
    ]
    constants = {"both": np.array([1, 2]), "rows": np.array([1]), "columns": np.array([2])}
    outputs = [(score, ["N"]), ("channel_score", ["N", channels]), ("time_score", ["N", window])]
    if crosstalk:
        constants["all"] = np.array([0, 1, 2])
        nodes[1] = helper.make_node("ReduceMean", ["size", "all"], ["one"], keepdims=0)
        nodes += [
            helper.make_node("ReduceMean", ["size", "both"], ["own"], keepdims=0),
            helper.make_node("Add", ["own", "one"], [score]),
        ]
    if classes:
        changes = {"classes": ["calm", "loud"], "normal_class": "calm"} | changes
        nodes += [
            helper.make_node("ReduceMean", ["size", "both"], ["level"], keepdims=0),
            helper.make_node("Mul", ["level", "zero"], ["flat"]),
            helper.make_node("Unsqueeze", ["flat", "rows"], ["column"]),
            helper.make_node("Add", ["column", "share"], ["class_probability"]),
        ]
        constants |= {"zero": np.float32(0), "share": np.array([[0.25, 0.75]], np.float32)}
        outputs.append(("class_probability", ["N", 2]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, [batch, window, channels])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in outputs],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    text = metadata if isinstance(metadata, str) else json.dumps(metadata or card(window, channels, **changes))
    if metadata != "":
        helper.set_model_props(model, {"anomalyd": text})
    file = folder / name
    onnx.save(model, file)
    return file
