"""From data to what a model is made of: examples drawn from normal rows, and rows held back for calibration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from daemon.core.records import F32
from daemon.errors import ConfigError, DataError
from training import modelfile
from training.history import data, examples
from training.history.data import History
from training.history.examples import CLASSES
from training.modelfile import Settings as Settings
from training.network import architectures, heads
from training.network.layers import Preset
from training.runfolder import RunFolder

HELD_BACK = 0.25  # of each series' fitting rows, its newest: they make the calibration scores


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
    return modelfile.write(
        settings, file, train, check, heads.WindowNormaliser(), ("value",), None, [], about, say, run
    )


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
    for line in _strangers(used):
        say(line)
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
    return modelfile.write(
        settings, file, train, check, normaliser, used[0].columns, interval, held, about, say, run, data.inputs(kept)
    )


def _strangers(series: Sequence[History]) -> list[str]:
    """Return a warning where most series hardly move within the spread of all, as levels differ between them.

    One normalisation is for all: what is unusual in one series is then nothing beside what lies between two.
    """
    rows = [one.fit_rows().astype(np.float64) for one in series]
    still = 0.1 * np.concatenate(rows).std(axis=0)
    share = np.mean([one.std(axis=0) < still for one in rows], axis=0)
    names = [name for name, much in zip(series[0].columns, share.tolist(), strict=True) if much > 0.5]
    if not names:
        return []
    told = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
    return [
        f"warning: most of the {len(series)} series move less than a tenth of the spread over all in {told}: a fault in"
        " one is small beside what lies between two. Fit them one by one, or those of one machine and regime together"
    ]


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
