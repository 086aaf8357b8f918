"""Closed forms as model files: ONNX graphs made by hand, with a card and calibration scores. No TensorFlow."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, save_model
from onnx.checker import check_model

from daemon.core.card import CONTRACT, KEY, MOST_CALIBRATION_VALUES
from daemon.core.model import Model
from daemon.core.records import F32
from daemon.errors import DataError
from training.history import data
from training.history.data import History

OPSET = 17  # as the networks are exported
ML, ML_OPSET = "ai.onnx.ml", 3  # where trees live
HELD_BACK = 0.25  # of each series' fitting rows, its newest: they make the calibration scores
CLIP = 20.0
LARGEST = 1e18  # beyond it squares leave float32
NOISE_FLOOR = 0.1  # normal windows score about .5 to 30 in all forms; this is rounding on a constant signal


@dataclass(frozen=True, slots=True)
class Normal:
    """Normal rows of one asset: `fit` for fitting, `held` for calibration, newer and apart, as segments (n, C)."""

    fit: tuple[F32, ...]
    held: tuple[F32, ...]
    mean: F32
    sd: F32

    @classmethod
    def of(cls, series: Sequence[History], window: int) -> Normal:
        """Split each series' fitting rows; those shorter than four windows are left out.

        mean, sd: (C,), of the rows to fit on; sd is at least a thousandth of |mean| + 1. Raises DataError where no
        series is long enough.
        """
        rows = [one.fit_rows() for one in series]
        known = [part for part in rows if len(part) >= 4 * window]
        if not known:
            raise DataError("history", "rows for fitting", max(map(len, rows), default=0), f"4 windows of {window}")
        cuts = [len(part) - int(len(part) * HELD_BACK) for part in known]
        fit = tuple(part[:cut] for part, cut in zip(known, cuts, strict=True))
        all_rows = np.concatenate(fit).astype(np.float64)
        mean = all_rows.mean(axis=0)
        sd = np.maximum(all_rows.std(axis=0), 1e-3 * (np.abs(mean) + 1))
        held = tuple(part[cut:] for part, cut in zip(known, cuts, strict=True))
        return cls(fit, held, mean.astype(np.float32), sd.astype(np.float32))

    def normalise(self, x: F32) -> F32:
        """Return values (..., C) in spreads from the mean, at most CLIP either way."""
        z: F32 = np.clip((x - self.mean) / self.sd, -CLIP, CLIP)
        return z


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    """Return one node; `inputs` and `outputs` are names with blanks between."""
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def normalised(normal: Normal, limit: float = CLIP) -> tuple[list[NodeProto], dict[str, Any]]:
    """Return the nodes from "window" to "normalised", and their constants. limit: in spreads."""
    nodes = [
        node("Sub", "window mean", "moved"),
        node("Div", "moved sd", "in_spreads"),
        node("Clip", "in_spreads lowest highest", "normalised"),
    ]
    return nodes, {"mean": normal.mean, "sd": normal.sd, "lowest": np.float32(-limit), "highest": np.float32(limit)}


def _model(
    name: str, window: int, channels: int, nodes: Sequence[NodeProto], constants: Mapping[str, Any]
) -> ModelProto:
    """Return a model from "window" (N, W, C) to "score" (N,) and, where a node makes it, "channel_score" (N, C)."""
    outputs: dict[str, list[str | int]] = {"score": ["N"]}
    if any("channel_score" in one.output for one in nodes):
        outputs["channel_score"] = ["N", channels]
    domains = {"": OPSET} | ({ML: ML_OPSET} if any(one.domain == ML for one in nodes) else {})
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", window, channels])],
        [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    model.producer_name = "anomalyd-train"
    check_model(model)
    return model


def write(
    file: Path,
    head: str,
    window: int,
    normal: Normal,
    series: Sequence[History],
    nodes: Sequence[NodeProto],
    constants: Mapping[str, Any],
    *,
    macs: int,
    sees: int | None = None,
    cuts: int = 0,
) -> None:
    """Write a model and its card, with the scores that it gives the held-back rows; whole or not at all.

    macs: multiply-adds of one window; sees: how many of its newest rows count, default all; cuts: nodes of trees.
    Parameters are those and the constants with a fraction. Raises ModelError where the daemon would refuse the file.
    """
    first = series[0]
    times = [one.t[: len(one.fit_rows())] for one in series]
    arrays = [np.asarray(one) for one in constants.values()]
    model = _model(head, window, len(first.columns), nodes, constants)
    told = {
        "contract": CONTRACT,
        "name": file.stem[:128],
        "version": "0.1.0",
        "window": window,
        "channels": list(first.columns),
        "interval_s": float(np.median([one.interval_s for one in series])) or None,
        "hop": max(1, window // 16),
        "head": head,
        "inputs": data.inputs(normal.fit),
        "parameters": cuts + sum(one.size for one in arrays if one.dtype.kind == "f"),
        "macs": macs,
        "receptive_field": sees or window,
        "training": {
            "data": ", ".join(one.name for one in series[:5]) + (" ..." if len(series) > 5 else ""),
            "fingerprint": data.fingerprint(one.fit_rows() for one in series),
            "rows": sum(map(len, normal.fit)),
            "start": float(min(t[0] for t in times if len(t))),
            "end": float(max(t[-1] for t in times if len(t))),
        },
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part.onnx")
    try:
        _save(model, {**told, "calibration": {"hop": 1, "segments": [], "noise_floor": NOISE_FLOOR}}, part)
        run = Model(part, gpu="off", threads=1)
        segments = _scores(run, normal.held, window)
        _save(model, {**told, "calibration": {"hop": 1, "segments": segments, "noise_floor": NOISE_FLOOR}}, part)
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def _scores(model: Model, held: Sequence[F32], window: int) -> list[list[float]]:
    """Return the raw scores of the newest windows of each segment, as many as a card may hold in all."""
    share = MOST_CALIBRATION_VALUES // len(held)
    segments = []
    for rows in held:
        newest = rows[-(share + window - 1) :]
        if share and len(newest) >= window:
            cut = windows(newest, window)
            parts = [
                model.run(np.ascontiguousarray(cut[n : n + model.largest_batch])).score
                for n in range(0, len(cut), model.largest_batch)
            ]
            segments.append([float(score) for score in np.concatenate(parts)])
    return segments


def windows(rows: F32, window: int) -> F32:
    """Return all windows of these rows, (n - W + 1, W, C), as a view."""
    return np.lib.stride_tricks.sliding_window_view(rows, window, 0).swapaxes(1, 2)


def _save(model: ModelProto, card: Mapping[str, Any], file: Path) -> None:
    del model.metadata_props[:]
    helper.set_model_props(model, {KEY: json.dumps(card, sort_keys=True)})
    save_model(model, str(file))
