"""The trunk's layers in int8, as quantize and dequantize nodes around them. onnxruntime.quantization's only door.

Weights are signed, one scale per output channel, activations unsigned. The weights keep one bit free: processors
without VNNI add products of eight bits in sixteen, and would cut sums off that ours does not (the file runs anywhere).
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, NodeProto
from onnxruntime import quantization

from daemon.core.records import F32
from training.network.precision import trunk

BATCH = 64
SHOWN_ROWS = 65_536  # of windows whose ranges are taken: what all layers hand on for them is held in memory
#: Of the values a layer is shown, the share that its range spans, in %. A narrow one is finer for what is usual and
#: cuts off what is rare; which is better depends on the model (any-sensor-64: 99.9, AUC .771 against .766 of .772;
#: reconstruct: 100).
SPANS = (100.0, 99.99, 99.9)
CHEAP = 0.1  # of all weights: a last layer with no more stays float32
#: Relu may stand behind them as well as before. ONNX Runtime would pull the quantizing up through them, and its pools
#: of bytes take five times as long as its pools of floats; at a Relu it stops.
MOVES = ("Squeeze", "Unsqueeze", "MaxPool", "Transpose", "Reshape", "Flatten")


def convert(model: ModelProto, windows: F32) -> ModelProto:
    """Return a copy of a model whose layers are int8, their ranges those of `windows`, (N, W, C) in raw units.

    Of SPANS the one is taken whose scores of these windows are nearest to float32's. The first layer stays float32
    where there are others: its input spans the largest fault that is not cut off, of which a 256th is as large as what
    is usual (AUC .748 against .760 on injected faults), and it is the cheapest. So does a cheap last one: what it gives
    is nearly the score (a third less difference).
    """
    copy = ModelProto.FromString(model.SerializeToString())
    _sink(copy)
    layers = _worth(copy)
    count = min(len(windows), max(BATCH, SHOWN_ROWS // windows.shape[1]))
    count -= count % BATCH if count > BATCH else 0  # histograms are made of batches of one size
    shown = windows[np.linspace(0, len(windows) - 1, count).astype(int)]
    expected = _scores(model, windows)
    # a model of one layer is shown the fault itself: nothing of it may be cut off
    spans = SPANS if layers[0].name != trunk.layers(copy)[0].name else SPANS[:1]
    made = [_quantized(copy, [node.name for node in layers], shown, span) for span in spans]
    apart = [(np.abs(_scores(one, windows) - expected) / np.maximum(1, np.abs(expected))).mean() for one in made]
    return made[int(np.argmin(apart))]


def _worth(model: ModelProto) -> list[NodeProto]:
    """Return the layers to quantize."""
    layers = trunk.layers(model)
    sizes = {one.name: int(np.prod(one.dims)) for one in model.graph.initializer}
    weights = [max(sizes.get(name, 0) for name in node.input) for node in layers]
    chosen = layers[1:-1] if weights[-1] <= CHEAP * sum(weights) else layers[1:]
    return chosen or layers[1:] or layers


def _quantized(model: ModelProto, names: list[str], shown: F32, span: float) -> ModelProto:
    method = quantization.CalibrationMethod.MinMax if span == 100 else quantization.CalibrationMethod.Percentile
    with tempfile.TemporaryDirectory(prefix="anomalyd-") as folder:
        whole, low = Path(folder, "whole.onnx"), Path(folder, "low.onnx")
        onnx.save_model(model, str(whole))
        logging.disable(logging.WARNING)  # it recommends a preparation that changes nothing here
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                quantization.quantize_static(
                    str(whole), str(low), _Reader(shown), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
                    reduce_range=True, activation_type=quantization.QuantType.QUInt8,
                    weight_type=quantization.QuantType.QInt8, nodes_to_quantize=names,
                    op_types_to_quantize=list(trunk.LAYERS), calibrate_method=method,
                    extra_options={} if span == 100 else {"CalibPercentile": span},
                )  # fmt: skip
        finally:
            logging.disable(logging.NOTSET)
        return onnx.load(str(low))


def _scores(model: ModelProto, windows: F32) -> F32:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    parts = [session.run(["score"], {"window": windows[n : n + BATCH]})[0] for n in range(0, len(windows), BATCH)]
    found: F32 = np.concatenate(parts)
    return found


class _Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Hands out windows, a batch at a time."""

    def __init__(self, windows: F32) -> None:
        self._batches: Iterator[F32] = (windows[n : n + BATCH] for n in range(0, len(windows), BATCH))

    def get_next(self) -> dict[str, F32] | None:
        """Return the next batch, None behind the last."""
        batch = next(self._batches, None)
        return None if batch is None else {"window": batch}


def _sink(model: ModelProto) -> None:
    """Move each Relu behind the nodes of MOVES that follow it; what comes out is the same, bit by bit."""
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    outputs = {output.name for output in model.graph.output}
    place = 0
    while place < len(nodes):
        relu = nodes[place]
        users = [node for node in nodes if relu.output[0] in node.input] if relu.op_type == "Relu" else []
        follower = users[0] if len(users) == 1 else None
        if (
            follower is None
            or follower.op_type not in MOVES
            or len(follower.output) > 1
            or outputs.intersection([relu.output[0], follower.output[0]])
        ):
            place += 1
            continue
        before, between, after = relu.input[0], relu.output[0], follower.output[0]
        follower.input[0], follower.output[0] = before, between
        relu.input[0], relu.output[0] = between, after
        nodes.pop(place)
        nodes.insert(nodes.index(follower) + 1, relu)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
