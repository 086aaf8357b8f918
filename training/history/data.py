"""History in the pack layout: CSV files of `timestamp, sensors..., anomaly` beside an `index.csv`.

index.csv names, for each file, its role (train or test), interval_s and train_end: rows [0, train_end) may be used
for fitting, rows from there on are judged. A plain CSV file without an index is all fitting rows.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from daemon.core.records import F32, F64, Bool
from daemon.errors import DataError
from daemon.wire import tables

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


def read(path: Path) -> list[History]:
    """Return the series of a pack (a folder with index.csv), or of one history file (see daemon.wire.tables).

    Raises DataError naming file, row and column.
    """
    if path.is_dir():
        index = path / "index.csv"
        if not index.is_file():
            raise DataError(index, "file", "nothing there", f"an index with the columns {', '.join(INDEX)}")
        with index.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        found = []
        for n, row in enumerate(rows, 2):
            try:
                name, role, train_end, interval_s = (
                    row["file"], row["role"], int(row["train_end"]), float(row["interval_s"])
                )  # fmt: skip
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(index, f"line {n}", repr(error), f"the columns {', '.join(INDEX)}") from None
            if Path(name).name != name:
                raise DataError(index, f"line {n}", name, "the name of a file in the same folder")
            one = _series(path / name)
            found.append(_with(one, interval_s=interval_s, train_end=min(train_end, len(one.t)), role=role))
        return found
    one = _series(path)
    return [_with(one, train_end=len(one.t), role="train")]


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


def _series(file: Path) -> History:
    """Read one file as the daemon's replay reads it, and its labels where it has any."""
    table = tables.read(file)
    anomaly = np.zeros(len(table.t), np.bool_)
    try:
        labelled = tables.read(file, columns=[*table.columns, LABEL])
    except DataError:  # read once without trouble: there is no such column
        pass
    else:
        table = tables.Table(labelled.file, labelled.t, labelled.values[:, :-1], table.columns, labelled.skipped)
        anomaly = labelled.values[:, -1] != 0
    if not len(table.t):
        raise DataError(file, "contents", f"{table.skipped} rows without a finite value", "rows of numbers")
    interval_s = float(np.median(np.diff(table.t))) if len(table.t) > 1 else 0.0
    return History(file.name, tuple(table.columns), table.t, table.values, anomaly, interval_s, 0)


def _with(one: History, role: str, train_end: int, interval_s: float | None = None) -> History:
    if interval_s is None:
        interval_s = one.interval_s
    return History(one.name, one.columns, one.t, one.values, one.anomaly, interval_s, train_end, role)
