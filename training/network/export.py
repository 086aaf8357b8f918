"""A fitted network -> one self-describing ONNX file, proved equal to Keras before it is kept.

tf2onnx's only door; onnx's others are training/baselines/graph.py and training/network/precision/.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from daemon.core.card import CONTRACT, KEY
from daemon.core.model import TOLERANCE, Model
from daemon.core.records import F32
from daemon.errors import ModelError
from training.network.heads.faults import graph as graph

OPSET = 17  # ONNX Runtime 1.22, our oldest, runs up to 23; 17 is what tf2onnx is tested with most


def write(
    file: Path, run: Any, card: Mapping[str, Any], probe: F32, reach: F32 | Mapping[str, F32] | None = None
) -> float:
    """Write the graph `run` and its card to `file`; return the largest difference from Keras over `probe`.

    probe: (N, W, C) float32 windows in raw units, normal and faulty. The file appears only when it is whole and
    agrees: raises ModelError where |onnx - keras| > 1e-5 max(1, |keras|), or where the daemon itself refuses it.
    reach: (N,) the size of what a score is the difference of, such as logits, where it is above 1: float32's own
    rounding grows with it, and so does what is allowed. Of all outputs, or of those named.
    """
    import onnx
    import tensorflow as tf
    from tf2onnx import convert

    expected = {name: np.asarray(value) for name, value in run(tf.constant(probe)).items()}
    model, _ = convert.from_function(run, input_signature=run.input_signature, opset=OPSET)
    model.producer_name = "anomalyd-train"
    part = file.with_name(file.name + ".part.onnx")
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        _save(onnx, model, {**card, "parity": 0.0}, part)
        got = Model(part, gpu="off", threads=1)
        worst = 0.0
        for n in range(0, len(probe), got.largest_batch):
            out = got.run(probe[n : n + got.largest_batch])
            for name, whole in expected.items():
                value, want = getattr(out, name), whole[n : n + got.largest_batch]
                apart = np.abs(value - want)
                allowed = TOLERANCE * np.maximum(1, np.abs(want))
                far = reach.get(name) if isinstance(reach, Mapping) else reach
                if far is not None:
                    size = TOLERANCE * far[n : n + got.largest_batch]
                    allowed = np.maximum(allowed, size.reshape(-1, *[1] * (want.ndim - 1)))
                if not (apart <= allowed).all():
                    raise ModelError(file, f"{name} against Keras", f"{apart.max():.2g} apart", f"<= {TOLERANCE:g}")
                worst = max(worst, float(apart.max(initial=0.0)))
        _save(onnx, model, {**card, "parity": worst}, part)
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
    return worst


def card_of(file: Path) -> dict[str, Any]:
    """Return the card in a model file, all its keys. Raises ModelError where there is none."""
    import onnx

    try:
        model = onnx.load(str(file), load_external_data=False)
        return dict(json.loads({prop.key: prop.value for prop in model.metadata_props}[KEY]))
    except FileNotFoundError:
        raise ModelError(file, "file", "nothing there", "an .onnx file") from None
    except Exception as error:  # onnx and protobuf raise classes of their own for every kind of broken file
        raise ModelError(file, f"metadata_props[{KEY!r}]", repr(error), "the card of a model") from None


def set_metrics(file: Path, metrics: Mapping[str, Any]) -> None:
    """Merge `metrics` into those of the card in a model file, which is replaced as a whole or not at all."""
    import onnx

    card = card_of(file)
    model = onnx.load(str(file))
    merged = {**card, "metrics": {**card.get("metrics", {}), **metrics}}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {KEY: json.dumps(merged, sort_keys=True)})
    replace(file, model)


def replace(file: Path, model: Any, prove: Callable[[Path], None] | None = None) -> None:
    """Put an onnx model in a file's place, as a whole or not at all; prove: raises where it must not be."""
    import onnx

    part = file.with_name(file.name + ".part.onnx")
    try:
        onnx.save_model(model, str(part))
        if prove is not None:
            prove(part)
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def scores(run: Any, x: F32, batch: int = 4096) -> F32:
    """Return the raw scores of windows (N, W, C) according to the graph before export."""
    import tensorflow as tf

    parts = [np.asarray(run(tf.constant(x[n : n + batch]))["score"]) for n in range(0, len(x), batch)]
    return np.concatenate(parts)


def _save(onnx: Any, model: Any, card: Mapping[str, Any], file: Path) -> None:
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {KEY: json.dumps({"contract": CONTRACT, **card}, sort_keys=True)})
    onnx.save_model(model, str(file))
