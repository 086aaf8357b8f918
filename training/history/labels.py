"""Labels -> one class index per row, 0 for normal: from a 0/1 column, a column of classes, or a file of ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from daemon.core.records import F64, I8, Bool
from daemon.errors import DataError
from daemon.wire import tables
from daemon.wire.column import Column

#: Classes that mean "nothing wrong", tried in this order, in any case; else --normal says which one it is.
NORMAL = ("normal", "ok", "healthy", "good", "none", "no fault", "no_fault", "0", "false")
BINARY = ("normal", "anomaly")
MOST_CLASSES = 100  # more are readings, not classes; an index has to fit int8

_TRUTH = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}


@dataclass(frozen=True, slots=True)
class Range:
    """Rows with start <= t <= end have this label, in the series named, or in all where `series` is empty."""

    row: int
    start: float
    end: float
    label: str
    series: str


def binary(columns: Sequence[Column]) -> tuple[list[I8], tuple[str, ...]]:
    """Return 0/1 columns as class indices. Raises DataError for the first cell that is neither."""
    found = []
    for column in columns:
        cells = column.cells
        if isinstance(cells, np.ndarray):
            label = np.where((cells == 0) | (cells == 1), cells, -1).astype(np.int8)
        else:
            label = np.array([_TRUTH.get(cell.strip().lower(), -1) for cell in cells], np.int8)
        if (label < 0).any():
            place = int(np.argmax(label < 0))
            raise column.wrong(place, repr(str(cells[place])[:40]), f"0 or 1; or --label {column.name} for classes")
        found.append(label)
    return found, BINARY


def classes(columns: Sequence[Column], normal: str | None = None) -> tuple[list[I8], tuple[str, ...]]:
    """Return columns of class names, or numbers, as indices into the classes of all of them; the normal one is 0.

    normal: its name, else one of NORMAL. Raises DataError for a blank cell, too many classes, or none that is normal.
    """
    texts = [_texts(column) for column in columns]
    names = sorted({str(name) for text in texts for name in np.unique(text)})
    first = columns[0]
    if len(names) > MOST_CLASSES:
        expected = f"at most {MOST_CLASSES} classes; --label must name a column of classes, not of readings"
        raise DataError(first.file, f"column {first.name}", f"{len(names)} different values", expected)
    lower = {name.lower(): name for name in reversed(names)}
    chosen = normal if normal is not None else next((lower[name] for name in NORMAL if name in lower), None)
    if chosen not in names:
        expected = f"a class named {normal}, as --normal says" if normal else "one that is normal: name it by --normal"
        raise DataError(first.file, f"column {first.name}", f"classes {', '.join(names)[:200]}", expected)
    ordered = (chosen, *(name for name in names if name != chosen))
    place = np.argsort(ordered)  # names are sorted, so a name's rank leads to its index
    return [place[np.searchsorted(names, text)].astype(np.int8) for text in texts], ordered


def _texts(column: Column) -> np.ndarray[tuple[int], np.dtype[np.str_]]:
    cells = column.cells
    if isinstance(cells, np.ndarray):
        distinct, which = np.unique(cells, return_inverse=True)
        text = np.array(["" if np.isnan(one) else f"{one:g}" for one in distinct])[which]
    else:
        text = np.array([cell.strip() for cell in cells])
    if (text == "").any():
        raise column.wrong(int(np.argmax(text == "")), "a blank", "a class in every row")
    return text


def ranges(file: Path) -> list[Range]:
    """Return the ranges of a CSV file `start,end[,label][,series]`. Raises DataError naming the row."""
    names = tables.header(file)
    lower = {name.lower(): name for name in reversed(names)}
    for key in ("start", "end"):
        if key not in lower:
            raise DataError(file, "columns", ", ".join(names)[:200], "start, end and, if need be, label and series")
    beside = [lower.get("label"), lower.get("series", lower.get("file"))]
    found = tables.cells(file, names, [lower["start"], lower["end"], *(name for name in beside if name)])
    start, end = found[0].stamps(), found[1].stamps()
    rest = iter(found[2:])
    label = _texts(next(rest)).tolist() if beside[0] else [BINARY[1]] * len(start)
    series = _texts(next(rest)).tolist() if beside[1] else [""] * len(start)
    if (end < start).any():
        place = int(np.argmax(end < start))
        raise found[1].wrong(place, _iso(end[place]), f"a time not before the start, {_iso(start[place])}")
    rows = [found[0].row(place) for place in range(len(start))]
    return [Range(*one) for one in zip(rows, start.tolist(), end.tolist(), label, series, strict=True)]


def mark(file: Path, spans: Sequence[Range], series: Sequence[tuple[str, F64]]) -> tuple[list[I8], tuple[str, ...]]:
    """Return the class index of every row of every series (name, t), and the classes.

    Raises DataError where a range lies outside the data, or two overlap with different labels.
    """
    names = sorted({one.label for one in spans} - {BINARY[0]})
    if len(names) > MOST_CLASSES:
        raise DataError(file, "column label", f"{len(names)} different labels", f"at most {MOST_CLASSES}")
    ordered = (BINARY[0], *names)
    found = [np.zeros(len(t), np.int8) for _, t in series]
    taken: list[Bool] = [np.zeros(len(t), np.bool_) for _, t in series]
    for one in spans:
        here = [k for k, (name, _) in enumerate(series) if one.series in ("", name, name.split(".")[0])]
        if not here:
            known = ", ".join(name for name, _ in series)[:200]
            raise DataError(file, f"row {one.row}, column series", repr(one.series), f"one of {known}")
        low, high = min(series[k][1].min() for k in here), max(series[k][1].max() for k in here)
        if one.end < low or one.start > high:
            got = f"{_iso(one.start)} to {_iso(one.end)}"
            expected = f"a time within the data, {_iso(low)} to {_iso(high)}; without an offset both are read as UTC"
            raise DataError(file, f"row {one.row}", got, expected)
        index = ordered.index(one.label)
        for k in here:
            inside = (series[k][1] >= one.start) & (series[k][1] <= one.end)
            if (found[k][inside & taken[k]] != index).any():
                expected = "ranges that do not overlap, or with the same label"
                raise DataError(file, f"row {one.row}", f"{one.label} over rows labelled already", expected)
            found[k][inside] = index
            taken[k] |= inside
    return found, ordered


def _iso(t: float) -> str:
    """Return epoch seconds as a person reads them; small numbers come from a source without a clock."""
    return f"{t:g} s" if t < 1e8 else datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
