"""From data to a model file: draw examples, fit, take calibration scores from held-back rows, export, prove."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from daemon.core.card import MOST_CALIBRATION_VALUES
from daemon.core.records import F32
from daemon.errors import ConfigError, DataError
from training.history import data, examples
from training.history.data import History
from training.history.examples import CLASSES, NORMAL, Examples
from training.judge import classes as judge
from training.network import architectures, device, export, heads, loop
from training.network.layers import Preset
from training.runfolder import RunFolder

HELD_BACK = 0.25  # of each series' fitting rows, its newest: they make the calibration scores
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


def simulated(
    settings: Settings, file: Path, say: Callable[[str], None], run: RunFolder | None = None
) -> dict[str, Any]:
    """Fit a model for any single sensor on simulated plants with injected faults; return its metrics.

    No calibration scores are stored: no plant of ours speaks for the user's sensor, so each starts cold.
    """
    if settings.head != "faults":
        raise ConfigError.one(
            "--head", f"{settings.head} with --simulated", "history: it learns from a plant's own rows"
        )
    _, window = settings.chosen()
    per_sensor, sensors = 40, 26
    plants = max(1, round(settings.windows / (2 * per_sensor * sensors)))
    say(f"drawing windows of {plants} simulated plants")
    train = examples.simulated(plants, settings.seed, window, per_sensor, per_sensor, sensors=sensors)
    check = examples.simulated(max(2, plants // 8), settings.seed + 1_000_000, window, 60, 60, sensors=sensors)
    about: dict[str, Any] = {
        "data": f"{plants} simulated plants of {sensors} sensors, family train, with injected faults",
        "fingerprint": data.fingerprint([train.x]),
        "rows": len(train) * window,
        "start": None,
        "end": None,
    }
    if run is not None:
        run.begin(about["fingerprint"])
    return _fit(settings, file, train, check, heads.WindowNormaliser(), ("value",), None, [], about, say, run)


def history(
    settings: Settings,
    series: Sequence[History],
    file: Path,
    say: Callable[[str], None],
    run: RunFolder | None = None,
) -> dict[str, Any]:
    """Fit a model for these sensors on their own normal rows; return its metrics. run: where the fit is kept.

    Raises ConfigError where the window is too short for the architecture; DataError where the series' columns differ,
    or there are too few rows: then it names the largest window that fits.
    """
    head = heads.HEADS[settings.head]
    preset, window = settings.chosen()
    head.cost(preset, len(CLASSES), window, len(series[0].columns) if series else 1)
    used = [one for one in series if len(one.fit_rows()) >= 3 * window]
    if not used:
        most = max((len(one.fit_rows()) for one in series), default=0)
        raise DataError("history", "rows for fitting", most, _enough(preset, window, most // 3))
    for one in used:
        if one.columns != used[0].columns:
            raise DataError(one.name, "columns", one.columns, f"{used[0].columns} as in {used[0].name}")
    kept, back = [], []
    for one in used:
        rows = one.fit_rows()
        cut = max(2 * window + 1, int(len(rows) * (1 - HELD_BACK)))
        kept.append(rows[:cut])
        back.append(rows[cut:])
    total = sum(map(len, kept))
    times = [one.t[: one.train_end] for one in used]
    about: dict[str, Any] = {
        "data": f"{len(used)} series: {', '.join(one.name for one in used[:5])}{' ...' if len(used) > 5 else ''}",
        "fingerprint": data.fingerprint(one.fit_rows() for one in used),
        "rows": total,
        "start": float(min(t[0] for t in times)),
        "end": float(max(t[-1] for t in times)),
    }
    if run is not None:
        run.begin(about["fingerprint"])
    rng = np.random.default_rng([settings.seed, 9])
    everything = np.concatenate(kept)
    normaliser, usual = head.normaliser(everything), heads.FitNormaliser.of(everything)
    parts, checks = [], []
    for rows in kept:
        share = max(8, round(settings.windows / 2 * len(rows) / total))
        early, late = (rows, rows) if head.labelled else _apart(rows, window)
        parts.append(head.examples(early, window, 2 * share, rng, usual))
        checks.append(head.examples(late, window, 2 * (share // 8), rng, usual))
    held = [rows for rows in back if len(rows) >= window]
    train, check = examples.join(parts), examples.join(checks)
    interval = float(np.median([one.interval_s for one in used]))
    return _fit(
        settings, file, train, check, normaliser, used[0].columns, interval, held, about, say, run, data.inputs(kept)
    )


def _fit(
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
    network = head.build(preset, len(names), window, len(channels))
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
    parity = export.write(file, graph, card, probe, head.reach(normaliser, probe))
    say(f"wrote {file}: {file.stat().st_size:,} bytes, within {parity:.1e} of Keras")
    return metrics


def _newest(segments: list[F32]) -> list[list[float]]:
    """Return the segments, each cut to its newest scores where all together are more than a card may hold."""
    share = MOST_CALIBRATION_VALUES // max(len(segments), 1)
    return [[round(float(score), 5) for score in segment[-share:]] for segment in segments if share]


def _apart(rows: F32, window: int) -> tuple[F32, F32]:
    """Return the rows to fit on and the newer ones that say which epoch is best, where there are enough for both.

    A network that learns normal rows knows those it has seen: on them it says nothing of the best epoch, nor of what a
    usual residual is (.33 against .93 on an asset with 300 rows).
    """
    cut = len(rows) - max(len(rows) // 5, window + window // 2)
    return (rows[:cut], rows[cut:]) if cut >= 2 * window else (rows, rows)


def _enough(preset: Preset, window: int, largest: int) -> str:
    """Return what a history too short for `window` lacks: rows, or a window and an architecture that fit `largest`."""
    wanted = f"at least 3 windows of {window} in a series"
    fitting = [one.name for one in architectures.KNOWN.values() if architectures.field(one) <= largest]
    if architectures.field(preset) <= largest:
        return f"{wanted}; the largest window that fits is {largest}: --window {largest}"
    if fitting:
        return (
            f"{wanted}; the largest window that fits is {largest}: --window {largest} --preset {' or '.join(fitting)}"
        )
    return f"{wanted}; no window fits"
