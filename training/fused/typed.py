"""Which type of fault: the shipped network for any one sensor, put behind the channel that stands out.

It is fitted on simulated plants alone, so it needs no faults of the user's; how well it names those injected into the
user's own rows is measured, and told in the card, so that nobody trusts "amplitude" as "stuck".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from daemon import shipped
from daemon.core.model import Model
from daemon.core.records import F32
from daemon.errors import ModelError
from training.history import examples
from training.history.examples import CLASSES
from training.network import export

SHIPPED = "any-sensor-64"
PROBES = 1000  # injected faults that measure it
TOLERANCE = 1e-4


def classes(window: int) -> list[str]:
    """Return the classes of a model with this window: those of the shipped network, none where it has too few rows."""
    card = Model(shipped.resolve(SHIPPED), gpu="off", threads=1).card
    return list(card.classes) if window >= card.window else []


def add(file: Path, probe: F32) -> None:
    """Give a model file with channel_score the output class_probability, whole or not at all.

    Its card must name the classes. probe: (N, W, C) windows. Raises ModelError where what comes out is not what the
    shipped network says of the culprit's newest rows.
    """
    import onnx
    from onnx import compose, helper

    source = shipped.resolve(SHIPPED)
    alone = Model(source, gpu="off", threads=1)
    model, types = onnx.load(str(file)), compose.add_prefix(onnx.load(str(source)), "type/")
    _, window, channels = probe.shape
    nodes = [
        helper.make_node("Slice", ["window", "type/from", "type/to", "type/along"], ["type/newest"]),
        helper.make_node("ArgMax", ["channel_score"], ["type/which"], axis=1, keepdims=1),
        helper.make_node("OneHot", ["type/which", "type/depth", "type/offon"], ["type/picked"], axis=2),
        helper.make_node("Mul", ["type/newest", "type/picked"], ["type/alone"]),
        helper.make_node("ReduceSum", ["type/alone", "type/last"], ["type/window"], keepdims=1),
        *types.graph.node,
        helper.make_node("Identity", ["type/class_probability"], ["class_probability"]),
    ]
    constants = {
        "type/from": np.array([window - alone.card.window]),
        "type/to": np.array([window]),
        "type/along": np.array([1]),
        "type/depth": np.array(channels),
        "type/offon": np.array([0, 1], np.float32),
        "type/last": np.array([2]),
    }
    model.graph.node.extend(nodes)
    model.graph.initializer.extend([*types.graph.initializer, *(_constant(*one) for one in constants.items())])
    output = helper.make_tensor_value_info("class_probability", onnx.TensorProto.FLOAT, ["N", len(alone.card.classes)])
    model.graph.output.append(output)
    export.replace(file, model, lambda part: _prove(part, alone, probe))


def _constant(name: str, value: Any) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.asarray(value), name)


def _prove(file: Path, alone: Model, probe: F32) -> None:
    whole = Model(file, gpu="off", threads=1)
    for n in range(0, len(probe), whole.largest_batch):
        x = probe[n : n + whole.largest_batch]
        out = whole.run(x)
        assert out.channel_score is not None
        culprit = out.channel_score.argmax(axis=1)
        rows = np.take_along_axis(x, culprit[:, None, None], axis=2)[:, -alone.card.window :]
        wanted = alone.run(np.ascontiguousarray(rows)).class_probability
        assert out.class_probability is not None
        assert wanted is not None
        apart = float(np.abs(out.class_probability - wanted).max())
        if not apart <= TOLERANCE:
            raise ModelError(file, "class_probability against the type network", f"{apart:.2g} apart", f"{TOLERANCE:g}")


def measured(file: Path, stretches: Sequence[F32], seed: int) -> dict[str, Any] | None:
    """Return how a model takes faults injected into normal rows, (n, C) each: does it see them, and name them?

    {"faults": how many, "found": share of them above the 99th percentile of normal windows; of those found: "culprit":
    share whose channel is named, "type": share whose type is, "types": {name: {"named": share of its faults that are,
    "right": share of its naming that is}}}; None where no stretch has more rows than two windows.
    """
    model = Model(file, gpu="off", threads=1)
    window = model.card.window
    used = [rows for rows in stretches if len(rows) > 2 * window]
    if not used:
        return None
    rng = np.random.default_rng([seed, 19])
    share = max(1, PROBES // len(used))
    drawn = examples.join(examples.draw(rows, window, 1, share, rng) for rows in used[:PROBES])
    drawn = examples.only(drawn, range(1, len(CLASSES)))
    outs = [model.run(drawn.x[n : n + model.largest_batch]) for n in range(0, len(drawn), model.largest_batch)]
    score = np.concatenate([out.score for out in outs])
    calm = np.concatenate([np.asarray(segment) for segment in model.card.calibration.segments] or [score])
    odd = score > np.quantile(calm, 0.99)
    found: dict[str, Any] = {"faults": len(drawn), "found": round(float(odd.mean()), 3)}
    if not odd.any():
        return found
    if len(model.card.channels) > 1:
        culprit = np.concatenate([out.channel_score.argmax(axis=1) for out in outs if out.channel_score is not None])
        found["culprit"] = round(float((culprit == drawn.channel)[odd].mean()), 3)
    if not model.card.classes:
        return found
    names = np.array(model.card.classes)
    faults = np.flatnonzero(names != model.card.normal_class)
    likely = np.concatenate([out.class_probability[:, faults] for out in outs if out.class_probability is not None])
    named, real = names[faults][likely.argmax(axis=1)][odd], np.array(CLASSES)[drawn.y][odd]
    found["type"] = round(float((named == real).mean()), 3)
    found["types"] = {
        str(name): {
            "named": round(float((named[real == name] == name).mean()), 3),
            "right": round(float((real[named == name] == name).mean()), 3) if (named == name).any() else None,
        }
        for name in names[faults]
        if (real == name).any()
    }
    return found
