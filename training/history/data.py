"""History in the pack layout: CSV files of `timestamp, sensors..., anomaly` beside an `index.csv`.

index.csv names, for each file, its role (train or test), interval_s and train_end: rows [0, train_end) may be used
for fitting, rows from there on are judged. What else can be read, training.history.reading says.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from daemon.core.drift import Reference
from daemon.core.records import F32, F64, Bool
from daemon.errors import DataError
from training.history import reading
from training.history.reading import Series

TIME, LABEL = "timestamp", "anomaly"
INDEX = ("file", "role", "sensors", "interval_s", "points", "train_end", "anomaly_points", "anomaly_events", "note")


@dataclass(frozen=True, slots=True)
class History:
    """One series. t: (n,) epoch seconds; values: (n, C); anomaly: (n,) labels, all False where there are none."""

    name: str
    columns: tuple[str, ...]
    t: F64
    values: F32
    anomaly: Bool
    interval_s: float
    train_end: int
    role: str = "test"

    def fit_rows(self) -> F32:
        """Return the rows a model may be fitted on: before train_end, up to the first labelled one."""
        known = self.anomaly[: self.train_end]
        return self.values[: int(np.argmax(known)) if known.any() else self.train_end]


def read(path: Path, options: reading.Options | None = None) -> list[History]:
    """Return the series of a file, a folder of files or a pack, as training.history.reading does, ready for fitting.

    Rows without a value in every column are left out, as they are live; every class but the first is an anomaly.
    Raises DataError naming file, row and column.
    """
    return [_history(one) for one in reading.read(path, options)]


def write(folder: Path, series: Sequence[History]) -> None:
    """Write a pack that `read` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as file:
        index = csv.writer(file, lineterminator="\n")
        index.writerow(INDEX)
        for one in series:
            events = int(np.count_nonzero(np.diff(one.anomaly.astype(int), prepend=0) == 1))
            counts = (len(one.t), one.train_end, int(one.anomaly.sum()), events)
            index.writerow([one.name, one.role, len(one.columns), f"{one.interval_s:g}", *counts, ""])
            with (folder / one.name).open("w", newline="", encoding="utf-8") as out:
                table = csv.writer(out, lineterminator="\n")
                table.writerow([TIME, *one.columns, LABEL])
                for t, values, label in zip(one.t.tolist(), one.values, one.anomaly.tolist(), strict=True):
                    table.writerow([repr(t), *(f"{value:.7g}" for value in values), int(label)])


def fingerprint(arrays: Iterable[F32]) -> str:
    """Return the SHA-256 of these arrays' shapes and values, as hex."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def inputs(rows: Iterable[F32]) -> list[dict[str, Any]]:
    """Return how the values of each channel lie in these rows, [(n, C)], as a model's card tells it."""
    known = np.concatenate(list(rows))
    return [asdict(Reference.of(known[:, channel])) for channel in range(known.shape[1])]


def _history(one: Series) -> History:
    good = np.asarray(np.isfinite(one.values).all(axis=1))
    if not good.any():
        raise DataError(one.file, "contents", f"{len(good)} rows that all lack a value", "rows of numbers")
    anomaly = np.zeros(len(good), np.bool_) if one.label is None else one.label != 0
    train_end = int(np.count_nonzero(good[: one.train_end]))
    return History(
        one.name, one.columns, one.t[good], one.values[good], anomaly[good], one.interval_s, train_end, one.role
    )
