"""Which part of a model file is its trunk: what lies between the first and the last layer that the score needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from daemon.errors import ModelError

LAYERS = ("Conv", "MatMul", "Gemm")
LOW = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT8, TensorProto.UINT8)


def load(file: Path) -> ModelProto:
    """Return a model whose nodes all have a name and whose constants are initializers.

    Raises ModelError where it is no model, is not float32 throughout, or has no layer with weights of its own.
    """
    try:
        model = onnx.load(str(file))
    except FileNotFoundError:
        raise ModelError(file, "file", "nothing there", "an .onnx file") from None
    except Exception as error:  # onnx and protobuf raise classes of their own for every kind of broken file
        raise ModelError(file, "loading", repr(error)[:300], "an .onnx file") from None
    low = sorted({TensorProto.DataType.Name(one.data_type) for one in model.graph.initializer if one.data_type in LOW})
    quantized = [node.op_type for node in model.graph.node if "QuantizeLinear" in node.op_type]
    if low or quantized:
        got = ", ".join([*low, *dict.fromkeys(quantized)])
        raise ModelError(file, "precision", got, "a float32 model: export from the file that fit wrote")
    for place, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type} at {place}"
    _constants(model)
    if not layers(model):
        raise ModelError(file, "layers", "none", f"one of {', '.join(LAYERS)} with weights, on the way to the score")
    return model


def layers(model: ModelProto) -> list[NodeProto]:
    """Return the layers with weights that the score is made of, in order; what only explains a score is not among them.

    joint whitening has one so, though channel_score has two more.
    """
    weights = {one.name for one in model.graph.initializer}
    makers = _makers(model)
    scored = _reach([makers["score"]], lambda node: [makers[name] for name in node.input if name in makers])
    return [
        node
        for node in model.graph.node
        if node.name in scored and node.op_type in LAYERS and weights.intersection(node.input)
    ]


def between(model: ModelProto, ends: Iterable[NodeProto]) -> list[NodeProto]:
    """Return these layers and every node on a way from one of them to another."""
    known = list(ends)
    makers = _makers(model)
    users: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    above = _reach(known, lambda node: [makers[name] for name in node.input if name in makers])
    below = _reach(known, lambda node: [user for name in node.output for user in users.get(name, [])])
    return [node for node in model.graph.node if node.name in above and node.name in below]


def prune(model: ModelProto) -> None:
    """Drop weights that no node takes, and what was said of tensors whose type may have changed."""
    used = {name for node in model.graph.node for name in node.input}
    kept = [one for one in model.graph.initializer if one.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    del model.graph.value_info[:]


def _constants(model: ModelProto) -> None:
    """Make initializers of Constant nodes, as some exporters write them."""
    left = []
    for node in model.graph.node:
        value = next((one.t for one in node.attribute if one.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            model.graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(value), node.output[0]))
        else:
            left.append(node)
    if len(left) < len(model.graph.node):
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in left]
        del model.graph.node[:]
        model.graph.node.extend(copies)


def _makers(model: ModelProto) -> dict[str, NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


def _reach(start: Iterable[NodeProto], follow: Callable[[NodeProto], list[NodeProto]]) -> set[str]:
    """Return the names of all nodes that can be reached, the first ones included."""
    seen: set[str] = set()
    left = list(start)
    while left:
        node = left.pop()
        if node.name not in seen:
            seen.add(node.name)
            left += follow(node)
    return seen
