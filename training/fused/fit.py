"""From normal rows to a fused model file: fit its views, see what is usual for them, calibrate, export, prove."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from daemon.core.card import MOST_CALIBRATION_VALUES
from daemon.core.records import F32
from daemon.errors import DataError
from training.fused import encoder, judged, plan, scales, typed
from training.fused.blocks import Blocks
from training.fused.encoder import Effort, Embedded, Odds
from training.fused.graph import distances, graph, normalised, reach, stretches
from training.fused.scales import View
from training.history import data
from training.history.data import History
from training.history.examples import NORMAL
from training.network import export, loading
from training.network.layers import Preset
from training.network.normalising import FitNormaliser

HEAD = "fused"
WINDOWS = 4  # of fitting rows that the longest series must have
LEAST_WINDOW = 4
MOST_PROBES = 500
BATCH = 512


@dataclass(frozen=True, slots=True)
class Settings:
    """How to fit. window: at most, None for the default of the channels' number; it shrinks where rows are few.

    preset: the trunk of a network, on as many of the newest rows as are its own; None for closed forms alone.
    """

    window: int | None = None
    seed: int = 1
    hop: int | None = None
    name: str = "model"
    version: str = "0.1.0"
    preset: Preset | None = None
    effort: Effort = field(default_factory=Effort)


def fit(
    settings: Settings,
    series: Sequence[History],
    file: Path,
    say: Callable[[str], None],
    begin: Callable[[str], None] = lambda fingerprint: None,
) -> dict[str, Any]:
    """Fit a model for these sensors, seen jointly, on their own normal rows; return its metrics.

    begin: told the rows' fingerprint, once it is known that they can be fitted on. Raises DataError where the series'
    columns differ or the longest has fewer than sixteen rows to fit on.
    """
    loading.tensorflow()
    window, used = _chosen(settings, series, say)
    cut = Blocks.of([one.fit_rows() for one in used], window)
    usual = FitNormaliser.of(np.concatenate(cut.series))
    blocks = Blocks(tuple(np.asarray(normalised(rows, usual)) for rows in cut.series), cut.count)
    channels = len(used[0].columns)
    begin(data.fingerprint(one.fit_rows() for one in used))
    say(f"fitting {HEAD}: window {window}, {channels} channels, {sum(map(len, cut.series)):,} normal rows")
    views, folds = _fitted(settings, blocks, window, channels, say)
    card = {
        **_card(settings, used, window),
        "calibration": {"hop": 1, "segments": _segments(folds, blocks, window), "noise_floor": 0.0},
    }
    card["training"]["views"] = [
        {"name": view.part.name, "rows": view.part.rows, "weight": round(view.weight, 3)} for view in views
    ]
    probe = _probe(cut, window)
    far = reach(views, usual, probe)
    run = graph(views, usual, window, channels)
    parity = export.write(file, run, card, probe, {"channel_score": far, "time_score": far})
    if card["classes"]:
        typed.add(file, probe)
    metrics = {"check": typed.measured(file, cut.series, settings.seed)}
    export.set_metrics(file, metrics)
    say(f"wrote {file}: {file.stat().st_size:,} bytes, within {parity:.1e} of TensorFlow")
    return metrics


def _fitted(
    settings: Settings, blocks: Blocks, window: int, channels: int, say: Callable[[str], None]
) -> tuple[list[View], list[list[View] | None]]:
    """Return the views; and for each block the same fitted on the others, None where there are none such.

    The network is fitted once, on all blocks but the newest, which alone calibrates then.
    """
    newest = blocks.count - 1
    views: list[View] = []
    folds: list[list[View]] = [[] for _ in range(blocks.count)]
    for sketch in plan.sketches(window, channels):
        apart = [sketch.fit(blocks.fitting(sketch.rows, number), settings.seed) for number in range(blocks.count)]
        found = [distances(part, rows) for number, part in enumerate(apart) for rows in blocks.block(number)]
        whole = sketch.fit(blocks.fitting(sketch.rows), settings.seed)
        views.append(View(whole, scales.usual(np.concatenate(found)), sketch.looks, sketch.weight))
        say(f"{whole.name}, {whole.rows} rows: usually up to {views[-1].usual:.3g}")
        for number, part in enumerate(apart):
            folds[number].append(replace(views[-1], part=part))
    before = Blocks(tuple(blocks.before(newest)), 1)
    network = None
    if settings.preset is not None:
        cuts = before.fitting(min(window, settings.preset.window))
        network = encoder.fit(cuts, settings.seed, settings.effort, settings.preset, say)
        for part in (Odds(network), Embedded.of(network, before.fitting(network.rows), settings.seed)):
            found = [distances(part, rows) for rows in blocks.block(newest)]
            views.append(View(part, scales.usual(np.concatenate(found))))
            folds[newest].append(views[-1])
    if channels > 1:
        ranks = judged.ranks(folds[newest], blocks.block(newest), window, settings.seed)
        weights = [judged.weight(rank) for rank in ranks]
        views = _weighted(views, weights)
        folds = [_weighted(fold, weights) for fold in folds]
    return views, [fold if network is None or number == newest else None for number, fold in enumerate(folds)]


def _weighted(views: Sequence[View], weights: Sequence[float]) -> list[View]:
    return [replace(view, weight=weight) for view, weight in zip(views, weights, strict=False)]


def _card(settings: Settings, used: Sequence[History], window: int) -> dict[str, Any]:
    rows = [one.fit_rows() for one in used]
    times = [one.t[: len(part)] for one, part in zip(used, rows, strict=True)]
    classes = typed.classes(window)
    return {
        "name": settings.name,
        "version": settings.version,
        "window": window,
        "channels": list(used[0].columns),
        "interval_s": float(np.median([one.interval_s for one in used])) or None,
        "hop": settings.hop or max(1, window // 16),
        "head": HEAD,
        "classes": classes,
        "normal_class": NORMAL if classes else None,
        "inputs": data.inputs(rows),
        "receptive_field": window,
        "training": {
            "data": f"{len(used)} series: {', '.join(one.name for one in used[:5])}{' ...' if len(used) > 5 else ''}",
            "fingerprint": data.fingerprint(rows),
            "rows": sum(map(len, rows)),
            "start": float(min(t[0] for t in times)),
            "end": float(max(t[-1] for t in times)),
            "seed": settings.seed,
        },
        "metrics": {},
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _chosen(settings: Settings, series: Sequence[History], say: Callable[[str], None]) -> tuple[int, list[History]]:
    """Return the window, and the series that have rows enough for it."""
    for one in series:
        if one.columns != series[0].columns:
            raise DataError(one.name, "columns", one.columns, f"{series[0].columns} as in {series[0].name}")
    most = max((len(one.fit_rows()) for one in series), default=0)
    if most < WINDOWS * LEAST_WINDOW:
        raise DataError("history", "rows for fitting", most, f"at least {WINDOWS * LEAST_WINDOW} normal rows in a row")
    wanted = settings.window or plan.default_window(len(series[0].columns))
    window = min(wanted, most // WINDOWS)
    if window < wanted:
        say(f"window {wanted} shrunk to {window}: {most} rows to fit on")
    return window, [one for one in series if len(one.fit_rows()) >= WINDOWS * window]


def _segments(folds: Sequence[Sequence[View] | None], blocks: Blocks, window: int) -> list[list[float]]:
    """Return the fused scores of each block by views that were not fitted on it, the newest a card may hold."""
    found = []
    for number, views in enumerate(folds):
        if views is None:
            continue
        for rows in blocks.block(number):
            share = MOST_CALIBRATION_VALUES // (len(folds) * len(blocks.series))
            cut = stretches(rows[-(share + window - 1) :], window)
            if share and len(cut):
                parts = [np.ascontiguousarray(cut[n : n + BATCH]) for n in range(0, len(cut), BATCH)]
                score = np.concatenate([np.asarray(scales.fused(views, part)) for part in parts])
                found.append([round(float(value), 6) for value in score])
    return found


def _probe(cut: Blocks, window: int) -> F32:
    """Return windows to compare the export on: normal ones, and the same with a jump in one channel."""
    normal = cut.fitting(window)
    normal = normal[:: max(1, len(normal) // MOST_PROBES)].copy()
    odd = normal.copy()
    jump = 10 * normal.std(axis=(0, 1)) + 1
    for k in range(len(odd)):
        channel = k % odd.shape[2]
        odd[k, window // 2 :, channel] += jump[channel]
    return np.concatenate([normal, odd])
