"""What a conversion is calibrated on and judged by: rows for fitting, rows held back, rows that are judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from daemon import replay
from daemon.core.card import MOST_CALIBRATION_VALUES, Card
from daemon.core.records import F32
from daemon.errors import DataError
from daemon.wire.tables import Table
from training import recipe
from training.history import classed, data, examples
from training.history.data import History
from training.history.examples import Examples, Known
from training.history.reading import Series
from training.judge import split
from training.network.normalising import FitNormaliser

TEACH = 1024  # windows whose ranges are taken, half of them with a fault, so that a fault is within them
PROBES = 6000  # held-back windows to judge by, half of them with a fault
SEED = 17


@dataclass(frozen=True, slots=True)
class Material:
    """What DATA brings for one model.

    teach: (N, W, C) windows of fitting rows. held: segments (n, C) of normal rows that were not fitted, for the card's
    calibration. probes: windows that were not fitted; y > 0 is an anomaly: an injected fault, or a labelled class.
    judged: series with labels behind train_end, each with the series that are fitted on for it. data, fingerprint: of
    the series, as a card says it.
    """

    teach: F32
    held: tuple[F32, ...]
    probes: Examples
    judged: tuple[tuple[History, tuple[History, ...]], ...]
    data: str
    fingerprint: str


def history(series: Sequence[History], card: Card) -> Material:
    """Return the material of normal history: the newest quarter of the fitting rows is held back, as by `fit`.

    A model of one channel takes each column as a sensor. Raises ConfigError where the model's channels are not there,
    DataError where the rows are too few.
    """
    window = card.window
    least = 2 * window + 1  # of rows that a fault is injected into: it may reach that far back
    rows = [part for one in series for part in _parts(one, card.channels)]
    cuts = [max(least, int(len(part) * (1 - recipe.HELD_BACK))) for part in rows]
    parts = [(part[:cut], part[cut:]) for part, cut in zip(rows, cuts, strict=True) if len(part) >= 3 * window]
    usable = [(fit, held) for fit, held in parts if len(held) >= least]
    if not usable:
        most = max(map(len, rows), default=0)
        raise DataError(
            "history", "rows for fitting", most, f"{least} in their newest quarter: {4 * least} in a series"
        )
    rng = np.random.default_rng(SEED)
    total = sum(len(held) for _, held in usable)
    teach: list[Examples] = []
    probes: list[Examples] = []
    for fit, held in usable:
        usual = FitNormaliser.of(fit)
        known = Known(usual.mean, usual.sd)
        share = len(held) / total
        for source, many, into in ((fit, TEACH, teach), (held, PROBES, probes)):
            half = max(4, round(many * share / 2))
            into.append(examples.draw(source, window, half, half, rng, known=known))
    judged = [one for one in split.tests(series) if one.anomaly[one.train_end :].any()]
    return Material(
        examples.join(teach).x,
        tuple(held for _, held in parts if len(held) >= window),
        examples.join(probes),
        tuple((one, tuple(split.fitted_on(series, one))) for one in judged),
        _names([one.name for one in series]),
        data.fingerprint(one.fit_rows() for one in series),
    )


def labelled(series: Sequence[Series], card: Card, per_class: int, test_share: float) -> Material:
    """Return the material of labelled classes, in the parts that `fit --head classify` makes of the same data.

    Raises DataError where the classes or the columns are not the model's.
    """
    first = series[0]
    if first.columns != tuple(card.channels):
        raise DataError(first.file, "columns", ", ".join(first.columns), f"the model's: {', '.join(card.channels)}")
    if first.classes != tuple(card.classes):
        raise DataError(first.file, "classes", ", ".join(first.classes), f"the model's: {', '.join(card.classes)}")
    parts = classed.split(series, card.window, per_class, test_share)
    teach = parts.train.windows.x
    return Material(
        teach[:: max(1, len(teach) // TEACH)],
        tuple(parts.calm),
        parts.test.windows,
        (),
        _names([one.name for one in series]),
        data.fingerprint(one.values for one in series),
    )


def newest(held: Sequence[F32], window: int) -> list[F32]:
    """Return the windows of each segment, (n, W, C) views, of its newest rows where all are more than a card holds."""
    share = MOST_CALIBRATION_VALUES // max(len(held), 1)
    parts = [rows[-(share + window - 1) :] for rows in held if share and len(rows) >= window]
    return [np.lib.stride_tricks.sliding_window_view(rows, window, 0).swapaxes(1, 2) for rows in parts]


def _parts(one: History, channels: list[str]) -> list[F32]:
    fit: Any = one.fit_rows()
    table = Table(one.name, one.t[: len(fit)], fit, list(one.columns), 0)
    return [values for _, values in replay.series(table, channels)]


def _names(names: Sequence[str]) -> str:
    return f"{len(names)} series: {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
