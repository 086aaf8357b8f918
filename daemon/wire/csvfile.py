"""CSV and CSV.gz -> columns. A file of nothing but numbers goes through NumPy's reader, any other through csv."""

from __future__ import annotations

import csv
import gzip
import warnings
import zlib
from pathlib import Path
from typing import TextIO

import numpy as np

from daemon.core.records import F64
from daemon.errors import DataError
from daemon.wire.column import Column, is_number


def _text(file: Path) -> TextIO:
    """Open a CSV file, or a gzip of it, as text; a byte order mark is dropped."""
    with open(file, "rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    if zipped:
        return gzip.open(file, "rt", encoding="utf-8-sig", newline="")
    return open(file, encoding="utf-8-sig", newline="")


_UNREADABLE = (UnicodeDecodeError, csv.Error, gzip.BadGzipFile, EOFError, zlib.error)


def _no_csv(file: Path, error: Exception) -> DataError:
    return DataError(file, "contents", str(error)[:120], "CSV text in UTF-8, or a whole .gz of it; or Parquet")


def header(file: Path) -> list[str]:
    """Return the column names. Raises DataError."""
    try:
        with _text(file) as text:
            row = next(csv.reader(text), None)
    except _UNREADABLE as error:
        raise _no_csv(file, error) from None
    if not row:
        raise DataError(file, "contents", "an empty file" if row is None else "a blank line", "a header and rows")
    if "\0" in "".join(row):
        raise _no_csv(file, ValueError("NUL bytes"))
    names = [name.strip() for name in row]
    if all(is_number(name) for name in names):
        raise DataError(file, "row 1", f"only numbers: {', '.join(names)[:80]}", "a header with column names")
    return names


def columns(file: Path, names: list[str], wanted: list[str]) -> list[Column]:
    """Return the wanted columns of a file whose header is `names`. Raises DataError, for a ragged row too."""
    places = [names.index(name) for name in wanted]
    try:
        clean = _clean(file, len(names))
        if clean is not None:
            return [Column(file, name, clean[:, place], 2) for name, place in zip(wanted, places, strict=True)]
        rows: list[int] = []
        cells: list[list[str]] = [[] for _ in wanted]
        with _text(file) as text:
            reader = csv.reader(text)
            next(reader)
            for row in reader:
                if not row:
                    continue
                if len(row) != len(names):
                    expected = f"{len(names)}, as in the header"
                    raise DataError(file, f"row {reader.line_num}", f"{len(row)} cells", expected)
                rows.append(reader.line_num)
                for column, place in zip(cells, places, strict=True):
                    column.append(row[place])
    except _UNREADABLE as error:
        raise _no_csv(file, error) from None
    return [Column(file, name, column, 2, rows) for name, column in zip(wanted, cells, strict=True)]


def _clean(file: Path, width: int) -> F64 | None:
    """Return a file of nothing but numbers, all columns; None where there is anything else. 10 times as fast."""
    try:
        with _text(file) as text, warnings.catch_warnings():
            next(csv.reader(text))
            warnings.simplefilter("error", UserWarning)  # it says so where there is no data
            found = np.loadtxt(text, delimiter=",", comments=None, quotechar='"', ndmin=2)
    except (ValueError, UserWarning):
        return None
    return found if found.shape[1] == width else None
