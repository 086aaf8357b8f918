"""From drawn examples to a model file: fit, take calibration scores from held-back rows, export, prove."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from daemon.core.card import MOST_CALIBRATION_VALUES
from daemon.core.records import F32
from training.history import examples
from training.history.examples import CLASSES, NORMAL, Examples
from training.judge import classes as judge
from training.network import architectures, device, export, heads, loop
from training.network.layers import Preset
from training.runfolder import RunFolder

MOST_PROBES = 2000


@dataclass(frozen=True, slots=True)
class Settings:
    """How to fit. architecture: a TOML file, not a preset; windows: examples in all; hop: what the card says."""

    head: str = "faults"
    preset: str = "small"
    architecture: Path | None = None
    window: int | None = None
    seed: int = 1
    epochs: int = 16
    patience: int | None = None
    batch: int = 512
    windows: int = 700_000
    hop: int = 4
    name: str = "model"
    version: str = "0.1.0"

    def chosen(self) -> tuple[Preset, int]:
        """Return the architecture and the window. Raises ConfigError where there is none such."""
        preset = architectures.chosen(self.preset, self.architecture)
        return preset, self.window or preset.window


def write(
    settings: Settings,
    file: Path,
    train: Examples,
    check: Examples,
    normaliser: heads.Normaliser,
    channels: tuple[str, ...],
    interval_s: float | None,
    held: list[F32],
    about: dict[str, Any],
    say: Callable[[str], None],
    run: RunFolder | None,
    inputs: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Fit on `train`, keep the epoch best on `check`, write the model to `file`; return its metrics.

    held: rows never fitted on, in stretches, whose scores calibrate. about: what the card says of the data.
    """
    head = heads.HEADS[settings.head]
    present = [k for k, name in enumerate(CLASSES) if name == NORMAL or (train.y == k).any()]
    names = [CLASSES[k] for k in present]
    place = np.full(len(CLASSES), -1, np.int32)
    place[present] = np.arange(len(present))
    check = examples.only(check, present)
    train, check = Examples(train.x, place[train.y]), Examples(check.x, place[check.y])
    preset, window = settings.chosen()
    normal = names.index(NORMAL)
    cost = head.cost(preset, len(names), window, len(channels))
    learnt = f"classes {', '.join(names)}" if head.labelled else head.about
    say(f"device: {device.described()}")
    say(f"fitting {preset.name}: {cost.parameters:,} parameters, {len(train):,} windows, {learnt}")
    loop.seed_everything(settings.seed)
    network = head.build(preset, len(names), window, len(channels), about["rows"])
    fitted = loop.fit(
        network, normaliser, train, check, epochs=settings.epochs, batch=settings.batch, seed=settings.seed,
        patience=settings.patience, loss=head.loss, say=say, keep=run,
    )  # fmt: skip
    any_sensor = isinstance(normaliser, heads.WindowNormaliser)
    temperature = heads.TEMPERATURE if any_sensor else 1.0
    if any_sensor:
        graph = export.graph(network, normaliser, normal, temperature)
    else:
        graph = head.graph(network, normaliser, check.x, normal)
    metrics: dict[str, Any] = {
        "epochs": len(fitted.history), "best": fitted.best + 1, "interrupted": fitted.interrupted,
    }  # fmt: skip
    if head.labelled:
        metrics["check"] = judge.report(check.y, loop.classes(network, normaliser, check.x), names)
    else:
        metrics["check"] = {"loss": fitted.history[fitted.best][1]}
    segments = [
        export.scores(graph, np.lib.stride_tricks.sliding_window_view(r, window, 0).swapaxes(1, 2)) for r in held
    ]
    card = {
        "name": settings.name,
        "version": settings.version,
        "window": window,
        "channels": list(channels),
        "interval_s": interval_s,
        "hop": settings.hop,
        "head": head.name,
        "classes": names if head.labelled else [],
        "normal_class": NORMAL if head.labelled else None,
        "inputs": inputs or [],
        "calibration": {
            "hop": 1,
            "segments": _newest(segments),
            "noise_floor": heads.NOISE_FLOOR if any_sensor else 0.0,
        },
        "parameters": cost.parameters,
        "macs": cost.macs,
        "receptive_field": cost.receptive_field,
        "training": {**about, "seed": settings.seed, "architecture": preset.name, "temperature": temperature},
        "metrics": metrics,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    probe = check.x[:: max(1, len(check) // MOST_PROBES)]
    parity = export.write(file, graph, card, probe, head.reach(network, normaliser, probe))
    say(f"wrote {file}: {file.stat().st_size:,} bytes, within {parity:.1e} of Keras")
    return metrics


def _newest(segments: list[F32]) -> list[list[float]]:
    """Return the segments, each cut to its newest scores where all together are more than a card may hold."""
    share = MOST_CALIBRATION_VALUES // max(len(segments), 1)
    return [[round(float(score), 5) for score in segment[-share:]] for segment in segments if share]
