"""From labelled windows to a model file: the presets as classifiers, fitted, stopped early, judged on later time."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from daemon.core.model import Model
from training.history import classed, data
from training.history.classed import Split
from training.history.reading import Series
from training.judge import classes as judge
from training.network import architectures, device, export, heads, loop
from training.network.heads import classify, faults
from training.network.layers import Preset
from training.runfolder import RunFolder

MOST_PROBES = 2000


@dataclass(frozen=True, slots=True)
class Settings:
    """How to fit. per_class: windows of a class, at most; patience: epochs without a better one before it stops."""

    preset: str = "small"
    architecture: Path | None = None
    window: int | None = None
    seed: int = 1
    epochs: int = 40
    patience: int = 6
    batch: int = 64
    per_class: int = classed.PER_CLASS
    test_share: float = classed.TEST_SHARE
    hop: int = 4
    name: str = "model"
    version: str = "0.1.0"

    def chosen(self) -> Preset:
        """Return the architecture. Raises ConfigError where there is none such."""
        return architectures.chosen(self.preset, self.architecture)


@dataclass(frozen=True, slots=True)
class Learnt:
    """A fitted network and its graph on raw windows. train_s: fitting alone, without building and export."""

    network: Any
    normaliser: heads.FitNormaliser
    run: Any
    fitted: loop.Fitted
    cost: architectures.Cost
    train_s: float


def learn(split: Split, settings: Settings, say: Callable[[str], None], keep: loop.Keep | None = None) -> Learnt:
    """Fit one network: Adam, sparse categorical cross-entropy, each class of the same weight in all.

    The epoch best on the check wins. keep: where each epoch is kept.
    """
    preset = settings.chosen()
    window, channels = split.train.windows.x.shape[1:]
    cost = architectures.cost(preset, len(split.classes), window, channels)
    loop.seed_everything(settings.seed)
    network = architectures.build(preset, len(split.classes), window, channels)
    normaliser = heads.FitNormaliser.of(split.train.windows.x.reshape(-1, channels))
    weight = classify.class_weight(split.train.windows.y, len(split.classes))
    began = time.perf_counter()
    fitted = loop.fit(
        network, normaliser, split.train.windows, split.check.windows, epochs=settings.epochs, batch=settings.batch,
        seed=settings.seed, patience=settings.patience, class_weight=weight, say=say, keep=keep,
    )  # fmt: skip
    train_s = time.perf_counter() - began
    return Learnt(network, normaliser, export.graph(network, normaliser, 0), fitted, cost, train_s)


def write(learnt: Learnt, split: Split, settings: Settings, about: dict[str, Any], file: Path) -> float:
    """Write the model file; return how far it is from Keras at most. Its calibration is from the test's normal time."""
    window = split.train.windows.x.shape[1]
    cut = [np.lib.stride_tricks.sliding_window_view(rows, window, 0).swapaxes(1, 2) for rows in split.calm]
    segments = [[round(float(score), 5) for score in export.scores(learnt.run, x)] for x in cut]
    card = {
        "name": settings.name,
        "version": settings.version,
        "window": window,
        "channels": list(split.channels),
        "interval_s": split.interval_s or None,
        "hop": settings.hop,
        "head": classify.NAME,
        "classes": list(split.classes),
        "normal_class": split.classes[0],
        "calibration": {"hop": 1, "segments": segments, "noise_floor": 0.0},
        "parameters": learnt.cost.parameters,
        "macs": learnt.cost.macs,
        "receptive_field": learnt.cost.receptive_field,
        "training": {**about, "seed": settings.seed, "architecture": settings.chosen().name},
        "metrics": {"epochs": len(learnt.fitted.history), "best": learnt.fitted.best + 1},
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    probe = split.test.windows.x[:: max(1, len(split.test.windows) // MOST_PROBES)]
    return export.write(file, learnt.run, card, probe, faults.HEAD.reach(learnt.network, learnt.normaliser, probe))


def fit(
    settings: Settings,
    series: Sequence[Series],
    file: Path,
    say: Callable[[str], None],
    run: RunFolder | None = None,
) -> dict[str, Any]:
    """Fit a classifier on labelled series and write it; return how it judged later time, as in the card's metrics.

    run: where the fit is kept. Raises DataError where classes have too few windows.
    """
    preset = settings.chosen()
    window = settings.window or preset.window
    architectures.cost(preset, len(series[0].classes), window, len(series[0].columns))
    arrays = [array for one in series for array in (one.values, np.asarray(one.label, np.float32))]
    about: dict[str, Any] = {
        "data": f"{len(series)} series: {', '.join(one.name for one in series[:5])}{' ...' if len(series) > 5 else ''}",
        "fingerprint": data.fingerprint(arrays),
        "rows": sum(len(one.t) for one in series),
        "start": float(min(one.t[0] for one in series)),
        "end": float(max(one.t[-1] for one in series)),
    }
    split = classed.split(series, window, settings.per_class, settings.test_share)
    if run is not None:
        run.begin(about["fingerprint"])
    for name, part in (("train", split.train), ("check", split.check), ("test", split.test)):
        found = ", ".join(f"{count} {name}" for name, count in part.counts(split.classes).items())
        say(f"{name}: {found} windows of {window} rows")
    say(f"device: {device.described()}")
    learnt = learn(split, settings, say, run)
    about["interrupted"] = learnt.fitted.interrupted
    parity = write(learnt, split, settings, about, file)
    model = Model(file, threads=1)
    report = judge.report(split.test.windows.y, judge.guess(model, split.test.windows.x), split.classes)
    export.set_metrics(file, {"check": report})
    say(f"wrote {file}: {file.stat().st_size:,} bytes, within {parity:.1e} of Keras")
    return {
        "epochs": len(learnt.fitted.history), "best": learnt.fitted.best + 1,
        "interrupted": learnt.fitted.interrupted, "check": report,
    }  # fmt: skip
