"""From a float32 model file to one of lower precision that was measured beside it, or to none."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import ModelProto

from daemon.core.card import KEY
from daemon.core.model import Model
from daemon.core.providers import Gpu
from daemon.core.records import F32
from daemon.errors import ConfigError, ModelError
from training.network import export
from training.network.normalising import FitNormaliser
from training.network.precision import eight, half, material, quality, speed, trunk
from training.network.precision.material import Material
from training.network.precision.quality import Quality
from training.network.precision.speed import Speed

Precision = Literal["fp16", "int8"]

#: Of AUC and VUS-PR. Another seed of the same fit moves them by as much (skab: .884 to .895, batadal: .917 to .936), so
#: what is within it could as well have been fitted so.
MOST_LOSS = 0.01
WORSE_ALARMS = 0.05  # of event F1, which one event more or less moves by as much: told, and no reason to refuse
CLEAR = 0.1  # of the highest score of normal windows: a fault that stands out by as much must still stand out


@dataclass(frozen=True, slots=True)
class Order:
    """What to make. most_loss: of each ranking figure. gpu: where it is measured, and where it is meant to run."""

    model: Path
    out: Path
    precision: Precision
    most_loss: float = MOST_LOSS
    gpu: Gpu = "off"


def run(order: Order, brought: Callable[[Model], Material], say: Callable[[str], None]) -> dict[str, Any]:
    """Convert, measure, and write where the loss is within bounds; return the measured figures, as the card has them.

    brought: what DATA brings for the loaded model. Raises ModelError, and writes nothing, where a ranking figure loses
    more than most_loss, a plain fault no longer stands out, or the daemon would refuse the file.
    """
    if order.out.resolve() == order.model.resolve():
        raise ConfigError.one("--out", str(order.out), "another file than the model: it is measured against it")
    before = Model(order.model, gpu=order.gpu, threads=1)
    whole = trunk.load(order.model)
    from_data = brought(before)
    calm = np.concatenate(material.newest(from_data.held, before.card.window))
    far = quality.far_out(calm, FitNormaliser.of(np.concatenate(from_data.held)).sd)
    if order.precision == "fp16":
        _within_range(order, whole, far)
        low = half.convert(whole)
    else:
        low = eight.convert(whole, from_data.teach)
    card = _card(order, from_data)
    part = order.out.with_name(order.out.name + ".part.onnx")
    order.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        _save(low, card, part)
        if before.card.calibration.segments:  # a model for any sensor has none, as each sensor starts cold
            card["calibration"] = {
                **card["calibration"],
                "hop": 1,
                "segments": _segments(Model(part, gpu=order.gpu, threads=1), from_data),
            }
            _save(low, card, part)
        after = Model(part, gpu=order.gpu, threads=1)
        pair = quality.measure(before, from_data, calm, far), quality.measure(after, from_data, calm, far)
        rates = speed.compare(before, after, from_data.probes.x)
        figures = _figures(*pair, rates, (order.model.stat().st_size, part.stat().st_size), after.provider)
        say(_table(order.precision, figures))
        alarms = figures["quality"].get("event_f1")
        if alarms and alarms["float32"] - alarms["here"] > WORSE_ALARMS:
            say("warning: it ranks as before, and yet alarms on the judged rows are worse: look at event F1")
        _judge(order, *pair)
        _save(low, {**card, "metrics": {"precision": figures}}, part)
        os.replace(part, order.out)
    finally:
        part.unlink(missing_ok=True)
    return figures


def _within_range(order: Order, whole: ModelProto, far: F32) -> None:
    size, node = half.largest(whole, far)
    if not size <= half.LARGEST:
        what = "not written, largest value in the trunk at faults of 100 sd and more"
        raise ModelError(
            order.out, what, f"{size:.3g} out of {node}", f"at most {half.LARGEST:,.0f}: float16 ends there"
        )


def _card(order: Order, from_data: Material) -> dict[str, Any]:
    """Return the new file's card: what it is, and what it was made from, with the figures that were that file's."""
    old = export.card_of(order.model)
    made_from = {
        "name": old["name"],
        "version": old["version"],
        "created": old.get("created", ""),
        "sha256": hashlib.sha256(order.model.read_bytes()).hexdigest(),
        "metrics": old.get("metrics", {}),
        "calibrated_on": from_data.data,
        "fingerprint": from_data.fingerprint,
    }
    kept = {key: value for key, value in old.items() if key not in ("parity", "metrics")}
    return {
        **kept,
        "name": f"{old['name'][:123]}-{order.precision}",
        "precision": order.precision,
        "made_from": made_from,
        "metrics": {},
        "calibration": old.get("calibration", {}),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _segments(model: Model, from_data: Material) -> list[list[float]]:
    cut = material.newest(from_data.held, model.card.window)
    return [[round(float(score), 5) for score in quality.scores(model, x)] for x in cut]


def _figures(
    before: Quality, after: Quality, rates: list[Speed], sizes: tuple[int, int], provider: str
) -> dict[str, Any]:
    names = ("auc", "vus_pr", "event_f1", "accuracy")
    pairs = {name: (getattr(before, name), getattr(after, name)) for name in names}
    return {
        "quality": {
            name: {"float32": round(a, 4), "here": round(b, 4)}
            for name, (a, b) in pairs.items()
            if a is not None and b is not None
        },
        "rank_correlation": round(quality.correlation(before.scores, after.scores), 6),
        "greatest_difference": float(f"{quality.greatest_difference(before.scores, after.scores):.3g}"),
        "speed": [{key: float(f"{value:.4g}") for key, value in asdict(one).items()} for one in rates],
        "bytes": {"float32": sizes[0], "here": sizes[1]},
        "provider": provider,
    }


LABELS = {
    "auc": "AUC of windows that were not fitted",
    "vus_pr": "VUS-PR of judged rows",
    "event_f1": "event F1 of judged rows",
    "accuracy": "accuracy of classes",
}


def _table(precision: str, figures: dict[str, Any]) -> str:
    lines = [f"{'':38}{'float32':>12}{precision:>12}"]
    for name, pair in figures["quality"].items():
        lines.append(f"{LABELS[name]:38}{pair['float32']:>12.4f}{pair['here']:>12.4f}")
    for one in figures["speed"]:
        at = f"windows/s, {one['batch']:.0f} at once"
        lines.append(f"{at:38}{one['before_hz']:>12,.0f}{one['after_hz']:>12,.0f}  {one['gain']:.2f} x")
    size = figures["bytes"]
    lines.append(f"{'bytes of the file':38}{size['float32']:>12,}{size['here']:>12,}")
    lines.append(
        f"scores: rank correlation {figures['rank_correlation']:.4f}, greatest difference "
        f"{figures['greatest_difference']:.2g} max(1, |score|), on {figures['provider']}"
    )
    return "\n".join(lines)


def _judge(order: Order, before: Quality, after: Quality) -> None:
    """Raise ModelError where the conversion costs too much."""
    for name in ("auc", "vus_pr"):
        a, b = getattr(before, name), getattr(after, name)
        if a is not None and a - b > order.most_loss:
            expected = f"at least {a - order.most_loss:.4f}: float32's {a:.4f} less --most-loss {order.most_loss:g}"
            raise ModelError(order.out, f"not written, {LABELS[name]} in {order.precision}", f"{b:.4f}", expected)
    if not np.isfinite(after.far).all():
        got = f"{int((~np.isfinite(after.far)).sum())} of {len(after.far)} not finite"
        raise ModelError(
            order.out, f"not written, scores of faults of 100 sd and more in {order.precision}", got, "finite numbers"
        )
    plain = before.far > before.calm + CLEAR * abs(before.calm)
    lost = int((plain & (after.far <= after.calm)).sum())
    if lost:
        got = f"{lost} of {len(after.far)} no higher than normal windows"
        raise ModelError(
            order.out,
            f"not written, scores of faults of 100 sd and more in {order.precision}",
            got,
            "above them, as in float32",
        )


def _save(model: ModelProto, card: dict[str, Any], file: Path) -> None:
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {KEY: json.dumps(card, sort_keys=True)})
    onnx.save_model(model, str(file))
