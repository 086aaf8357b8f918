"""History in the pack layout: CSV files of `timestamp, sensors..., anomaly` beside an `index.csv`.

index.csv names, for each file, its role (train or test), interval_s and train_end: rows [0, train_end) may be used
for fitting, rows from there on are judged. A plain CSV file without an index is all fitting rows.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from daemon.core.records import F32, F64, Bool
from daemon.errors import DataError

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
    """Return the series of a pack (a folder with index.csv), or of one .csv or .csv.gz file.

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
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rt", encoding="utf-8", newline="") as lines:
            return _parse(file, lines)
    except FileNotFoundError:
        raise DataError(file, "file", "nothing there", "a .csv or .csv.gz file") from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(file, "file", str(error), "a readable .csv or .csv.gz file in UTF-8") from None


def _parse(file: Path, lines: TextIO) -> History:
    header = next(csv.reader(lines), [])
    if len(header) < 2 or header[0] != TIME:
        raise DataError(file, "line 1", ",".join(header)[:80], f"{TIME},<sensor columns...>[,{LABEL}]")
    labelled = header[-1] == LABEL
    columns = tuple(header[1:-1] if labelled else header[1:])
    if not columns:
        raise DataError(file, "line 1", ",".join(header)[:80], "at least one sensor column")
    try:
        table = np.loadtxt(lines, delimiter=",", ndmin=2, comments=None, dtype=np.float64)
    except ValueError as error:
        raise DataError(file, "a row", str(error), f"{len(header)} numbers") from None
    if table.shape[1:] != (len(header),) or not len(table):
        raise DataError(file, "rows", table.shape, f"at least one row of {len(header)} numbers")
    with np.errstate(over="ignore"):
        values = table[:, 1 : 1 + len(columns)].astype(np.float32)
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        row, column = wrong[0].tolist()
        raise DataError(file, f"line {row + 2}, {columns[column]}", table[row, column + 1], "a finite float32")
    t = table[:, 0]
    interval_s = float(np.median(np.diff(t))) if len(t) > 1 else 0.0
    anomaly = table[:, -1] != 0 if labelled else np.zeros(len(t), np.bool_)
    return History(file.name, columns, t, values, anomaly, interval_s, 0)


def _with(one: History, role: str, train_end: int, interval_s: float | None = None) -> History:
    if interval_s is None:
        interval_s = one.interval_s
    return History(one.name, one.columns, one.t, one.values, one.anomaly, interval_s, train_end, role)
