"""A folder of exports -> series: wide or long tables, with labels in a column, in a file of ranges, or none.

What a file is and what its cells say is daemon.wire.tables' business; here columns become sensors, rows become series,
and labels become class indices. Nothing is sorted, dropped or filled: what is wrong with the rows, `inspection` says.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from daemon.core.records import F32, F64, I8, I64
from daemon.errors import BadMessage, ConfigError, DataError
from daemon.wire import tables
from daemon.wire.column import Column
from daemon.wire.payload.times import iso_s
from training.history import labels, layout

INDEX = "index.csv"
SUFFIXES = (".csv", ".csv.gz", ".parquet")

_NUMBER = "a number, or a blank where there is no value; name the sensors by --columns, a column of classes by --label"


@dataclass(frozen=True, slots=True)
class Options:
    """How to read. time: the column of stamps; columns: the sensors; layout: wide | long; label: a class column;
    normal: which class is no anomaly; ranges: a file of labels; train_end: see `_train_end`. None: found out."""

    time: str | None = None
    columns: tuple[str, ...] | None = None
    layout: str | None = None
    label: str | None = None
    normal: str | None = None
    ranges: Path | None = None
    train_end: str | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """One series, in its file's own order.

    t: (N,) epoch seconds. values: (N, C) float32, NaN where missing. label: (N,) int8 index into `classes`, 0 is
    normal; None where nothing is labelled. Rows [0, train_end) may be used for fitting. interval_s: the index's,
    else the median step forward; 0 where there is none. rows: (N,) the row of each in `file`, as a spreadsheet counts.
    """

    file: str
    name: str
    columns: tuple[str, ...]
    t: F64
    values: F32
    label: I8 | None
    classes: tuple[str, ...]
    train_end: int
    interval_s: float
    role: str
    rows: I64

    def fit_end(self) -> int:
        """Return up to where a model may be fitted: train_end, or the first labelled anomaly before it."""
        known = self.label[: self.train_end] if self.label is not None else np.zeros(0, np.int8)
        return int(np.argmax(known != 0)) if known.any() else self.train_end


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of index.csv; what it leaves open is None."""

    file: Path
    role: str = "train"
    train_end: int | None = None
    interval_s: float | None = None
    points: int | None = None
    line: int = 0


def read(path: Path, options: Options | None = None) -> list[Series]:
    """Return the series of a file, of a folder of files, or of a pack (a folder with index.csv), in order.

    Raises DataError with file, row and remedy, or ConfigError for options that contradict each other.
    """
    asked = options or Options()
    if asked.label and asked.ranges:
        raise ConfigError.one("--labels", "also --label", "one of them")
    found: list[Series] = []
    columns: list[Column | None] = []
    for entry in _entries(path):
        for one, label in _file(entry, asked):
            found.append(one)
            columns.append(label)
    names = [one.name for one in found]
    if len(set(names)) < len(names):  # the same sensors in several files
        found = [replace(one, name=f"{Path(one.file).name}:{one.name}") for one in found]
    return _labelled(found, columns, asked)


def _labelled(found: list[Series], columns: list[Column | None], asked: Options) -> list[Series]:
    """Return the series with the labels that were asked for."""
    if asked.ranges:
        spans = labels.ranges(asked.ranges)
        marked, classes = labels.mark(asked.ranges, spans, [(one.name, one.t) for one in found])
        return [replace(one, label=label, classes=classes) for one, label in zip(found, marked, strict=True)]
    known = [column for column in columns if column is not None]
    if not known:
        return found
    coded, classes = labels.classes(known, asked.normal) if asked.label else labels.binary(known)
    left = iter(coded)
    return [
        replace(one, label=None if column is None else next(left), classes=classes)
        for one, column in zip(found, columns, strict=True)
    ]


def _entries(path: Path) -> list[_Entry]:
    """Return the files to read, with what an index says about them."""
    if not path.is_dir():
        return [_Entry(path)]
    if (path / INDEX).is_file():
        return _index(path / INDEX)
    inside = sorted(path.iterdir())
    files = [_Entry(file) for file in inside if file.is_file() and file.name.lower().endswith(SUFFIXES)]
    if not files:
        below = [one.name for one in inside if one.is_dir() and _holds_data(one)]
        remedy = f"; give one of its folders: {', '.join(below)[:200]}" if below else ""
        raise DataError(path, "folder", "no data", f"files named *.csv, *.csv.gz or *.parquet{remedy}")
    return files


def _holds_data(folder: Path) -> bool:
    return any(file.name.lower().endswith(SUFFIXES) for file in folder.iterdir())


def _index(index: Path) -> list[_Entry]:
    """Return the lines of an index.csv; only `file` must be there (see docs/packs.md)."""
    try:
        with index.open(newline="", encoding="utf-8-sig") as text:
            lines = list(csv.DictReader(text))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(index, "contents", str(error)[:80], "CSV text in UTF-8") from None
    if not lines:
        raise DataError(index, "contents", "no line below the header", "a line for each series file")
    found = []
    for place, line in enumerate(lines, 2):
        name, role = line.get("file") or "", line.get("role") or "train"
        if not name or Path(name).name != name:
            raise DataError(index, f"row {place}, column file", repr(name), "the name of a file in the same folder")
        if role not in ("train", "test"):
            raise DataError(index, f"row {place}, column role", repr(role), "train or test")
        train_end, points = (_whole(index, place, line, key) for key in ("train_end", "points"))
        interval = line.get("interval_s") or None
        try:
            interval_s = None if interval is None else float(interval)
        except ValueError:
            interval_s = -1.0
        if interval_s is not None and not 0 < interval_s < np.inf:
            raise DataError(index, f"row {place}, column interval_s", repr(interval), "seconds above 0, or a blank")
        found.append(_Entry(index.parent / name, role, train_end, interval_s, points, place))
    return found


def _whole(index: Path, place: int, line: dict[str, str], key: str) -> int | None:
    cell = line.get(key) or None
    if cell is not None and not cell.isdecimal():
        raise DataError(index, f"row {place}, column {key}", repr(cell), "a count of rows from 0, or a blank")
    return None if cell is None else int(cell)


def _file(entry: _Entry, asked: Options) -> list[tuple[Series, Column | None]]:
    """Return the series of one file, each with its cells of labels."""
    file = entry.file
    names = tables.header(file)
    stamp = tables.stamp_column(file, names, asked.time)
    label = _label_name(file, names, asked)
    others = [name for name in names if name not in (stamp, label)]
    long = layout.long_columns(file, others, asked.layout if not entry.line else "wide")
    if long is not None:
        found = tables.cells(file, names, [stamp, *long] + ([label] if label else []))
        parts = layout.apart(found[0], found[1], found[2], found[3] if label else None, asked.columns)
    else:
        sensors = _sensors(file, others, asked)
        found = tables.cells(file, names, [stamp, *sensors] + ([label] if label else []))
        values = np.column_stack([column.numbers(_NUMBER) for column in found[1 : 1 + len(sensors)]])
        rows = np.array([found[0].row(place) for place in range(len(values))], np.int64)
        parts = [layout.Part(file.name, tuple(sensors), found[0].stamps(), values, found[-1] if label else None, rows)]
    if entry.points is not None and entry.points != len(parts[0].t):
        got, place = f"{len(parts[0].t)}, the rows of {file.name}", f"row {entry.line}, column points"
        raise DataError(file.parent / INDEX, place, entry.points, got)
    return [(_series(part, entry, asked), part.label) for part in parts]


def _series(part: layout.Part, entry: _Entry, asked: Options) -> Series:
    with np.errstate(over="ignore"):
        values = part.values.astype(np.float32)
    values[~np.isfinite(values)] = np.nan  # the daemon refuses what is no finite float32
    steps = np.diff(part.t)
    measured = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    end = len(part.t) if entry.train_end is None else min(entry.train_end, len(part.t))
    if asked.train_end is not None:
        end = _train_end(asked.train_end, part.t)
    return Series(
        str(entry.file), part.name, part.columns, part.t, values, None, (), end, entry.interval_s or measured,
        entry.role, part.rows,
    )  # fmt: skip


def _label_name(file: Path, names: Sequence[str], asked: Options) -> str | None:
    """Return the column of labels, where there is one and labels do not come from elsewhere."""
    if asked.label is not None:
        if asked.label not in names:
            raise DataError(file, "columns", ", ".join(names)[:200], f"one named {asked.label}, as --label says")
        return asked.label
    if asked.ranges:
        return None
    return next((name for name in names if name.lower() in tables.IGNORED), None)


def _sensors(file: Path, others: list[str], asked: Options) -> list[str]:
    if asked.columns:
        for name in asked.columns:
            if name not in others:
                raise DataError(file, "columns", ", ".join(others)[:200], f"one named {name}, as --columns says")
        return list(asked.columns)
    sensors = [name for name in others if name.lower() not in tables.IGNORED]
    if not sensors:
        raise DataError(file, "columns", ", ".join(others) or "stamps only", "a column of numbers for each sensor")
    return sensors


def _train_end(text: str, t: F64) -> int:
    """Return the first row that is not for fitting. text: a row (whole number), @epoch seconds, or ISO 8601."""
    if text.isdecimal():
        return min(int(text), len(t))
    try:
        stamp = float(text[1:]) if text.startswith("@") else iso_s(text)
    except (ValueError, BadMessage):
        expected = "a row such as 5000, a time such as 2026-03-01T12:00:00Z, or @1767225600"
        raise ConfigError.one("--train-end", repr(text), expected) from None
    late = t >= stamp
    return int(np.argmax(late)) if late.any() else len(t)
