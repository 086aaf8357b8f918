"""The trunk in float16: weights and what layers hand to each other; casts stand at its borders."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from daemon.core.records import F32
from training.network.precision import trunk

MARK = "_half"
LARGEST = 65504.0  # of float16; what is beyond becomes infinite
BATCH = 64


def convert(model: ModelProto) -> ModelProto:
    """Return a copy of a model whose trunk is float16. Input, outputs, normalisation and score stay float32.

    Raw units would leave float16, which ends at 65,504; a normalised window does not.
    """
    inside = trunk.between(model, trunk.layers(model))
    names = {node.name for node in inside}
    floats = _floats(model)
    weights = {one.name: one for one in model.graph.initializer}
    made = {name for node in inside for name in node.output}
    taken = {name for node in model.graph.node if node.name not in names for name in node.input}
    taken |= {output.name for output in model.graph.output}
    nodes: list[NodeProto] = []
    ready: set[str] = set()  # tensors of which there is a float16 twin
    copy: ModelProto = ModelProto.FromString(model.SerializeToString())
    for node in model.graph.node:
        if node.name not in names:
            nodes.append(node)
            continue
        low = NodeProto.FromString(node.SerializeToString())
        for place, name in enumerate(node.input):
            if name not in floats:
                continue
            low.input[place] = name + MARK
            if name in made or name in ready:
                continue
            ready.add(name)
            if name in weights:
                value = numpy_helper.to_array(weights[name]).astype(np.float16)
                copy.graph.initializer.append(numpy_helper.from_array(value, name + MARK))
            else:
                nodes.append(helper.make_node("Cast", [name], [name + MARK], name + MARK, to=TensorProto.FLOAT16))
        nodes.append(low)
        for place, name in enumerate(node.output):
            if name in floats:
                low.output[place] = name + MARK
                if name in taken:
                    nodes.append(helper.make_node("Cast", [name + MARK], [name], name + "_whole", to=TensorProto.FLOAT))
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    trunk.prune(copy)
    onnx.checker.check_model(copy)
    return copy


def largest(model: ModelProto, windows: F32) -> tuple[float, str]:
    """Return the largest size of a value that the trunk hands on for these windows, (N, W, C), and the node it is from.

    A CPU computes float16 nodes in float32, so a run of the converted file there would not show that it leaves LARGEST.
    """
    floats = _floats(model)
    inside = [node for node in trunk.between(model, trunk.layers(model)) if node.output[0] in floats]
    told = ModelProto.FromString(model.SerializeToString())
    del told.graph.output[:]
    told.graph.output.extend(helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None) for node in inside)
    session = onnxruntime.InferenceSession(told.SerializeToString(), providers=["CPUExecutionProvider"])
    found = (0.0, "")
    for n in range(0, len(windows), BATCH):
        values = session.run(None, {"window": windows[n : n + BATCH]})
        found = max(
            found, *((float(np.abs(value).max()), node.name) for value, node in zip(values, inside, strict=True))
        )
    return found


def _floats(model: ModelProto) -> set[str]:
    """Return the names of all float32 tensors."""
    graph = shape_inference.infer_shapes(model).graph
    named = [*graph.value_info, *graph.input, *graph.output]
    found = {one.name for one in named if one.type.tensor_type.elem_type == TensorProto.FLOAT}
    return found | {one.name for one in graph.initializer if one.data_type == TensorProto.FLOAT}
