"""History files: CSV, CSV.gz and Parquet -> arrays. What cannot be used is said with file, row and column."""

from __future__ import annotations

import csv
import datetime
import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from daemon.core.records import F32, F64, Bool
from daemon.errors import ConfigError, DataError

#: Names of a column of time stamps, tried in this order, in any case.
TIMES = ("timestamp", "time", "ts", "datetime", "date")

#: A label is no sensor.
IGNORED = ("anomaly",)


@dataclass(frozen=True, slots=True)
class Table:
    """One history file. t: (N,) epoch seconds; values: (N, C) float32, finite; columns: C names.

    skipped: rows left out because a value was blank, NaN or beyond float32: live they would have been refused.
    """

    file: str
    t: F64
    values: F32
    columns: list[str]
    skipped: int


def read(file: str | Path, *, columns: Sequence[str] | None = None, time: str | None = None) -> Table:
    """Read a history file: a column of time stamps, and numeric columns.

    columns: only these. time: the column of time stamps, else one named as in TIMES. Stamps are epoch seconds or
    ISO 8601 (without an offset: UTC); they need not be in order. Raises DataError, or ConfigError where a Parquet file
    is given and pyarrow is not installed.
    """
    file = Path(file)
    if not file.is_file():
        raise DataError(file, "file", "nothing there", "a CSV, CSV.gz or Parquet file")
    names, cells = _parquet(file) if file.suffix.lower() in (".parquet", ".pq") else _csv(file)
    stamp = _time_column(file, names, time)
    wanted = list(columns) if columns else [n for n in names if n != stamp and n.lower() not in IGNORED]
    for name in wanted:
        if name not in names:
            raise DataError(file, "columns", ", ".join(names), f"one named {name}")
    if not wanted:
        raise DataError(file, "columns", ", ".join(names), "a numeric column beside the time stamps")
    t = _stamps(file, stamp, cells[names.index(stamp)])
    values = np.column_stack([_values(file, name, cells[names.index(name)]) for name in wanted])
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    good: Bool = np.asarray(np.isfinite(narrow).all(axis=1))
    return Table(str(file), t[good], narrow[good], wanted, int(len(good) - good.sum()))


def _csv(file: Path) -> tuple[list[str], list[Any]]:
    """Return the header and the columns' cells as text."""
    try:
        with (
            gzip.open(file, "rt", encoding="utf-8-sig", newline="")
            if file.suffix == ".gz"
            else open(file, encoding="utf-8-sig", newline="") as text
        ):
            rows = list(csv.reader(text))
    except (UnicodeDecodeError, csv.Error, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(file, "contents", error, "CSV text in UTF-8 (or a whole .gz of it)") from None
    rows = [row for row in rows if row]
    if not rows:
        raise DataError(file, "contents", "an empty file", "a header and rows")
    header = [name.strip() for name in rows[0]]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(file, "header", f"{', '.join(twice)} twice", "column names that differ")
    if len(rows) == 1:
        raise DataError(file, "contents", f"only the header {', '.join(header)[:80]}", "rows below it")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise DataError(file, f"row {number}", f"{len(row)} cells", f"{len(header)}, as in the header")
    return header, list(zip(*rows[1:], strict=True))


def _parquet(file: Path) -> tuple[list[str], list[Any]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ConfigError.one("parquet", "no pyarrow", "pip install 'anomalyd[parquet]', or a CSV file", file) from None
    try:
        table = parquet.read_table(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(file, "contents", str(error)[:120], "a Parquet file") from None
    if not table.num_rows:
        raise DataError(file, "contents", "no rows", "rows")
    return list(table.column_names), [column.to_pylist() for column in table.columns]


def _time_column(file: Path, names: list[str], time: str | None) -> str:
    if time is not None:
        if time not in names:
            raise DataError(file, "columns", ", ".join(names), f"a time column named {time}")
        return time
    lower = {name.lower(): name for name in reversed(names)}
    for name in TIMES:
        if name in lower:
            return lower[name]
    raise DataError(file, "columns", ", ".join(names)[:200], f"a time column: {', '.join(TIMES)}, or --time NAME")


def _stamps(file: Path, name: str, cells: Sequence[Any]) -> F64:
    try:
        t = np.array(cells, np.float64)
        if np.isfinite(t).all():
            return t
    except (TypeError, ValueError):
        pass
    return np.array([_stamp(file, name, row, cell) for row, cell in enumerate(cells, start=2)])


def _stamp(file: Path, name: str, row: int, cell: Any) -> float:
    when = cell
    if not isinstance(cell, datetime.datetime):
        text = str(cell).strip()
        try:
            t = float(text)
            if np.isfinite(t):
                return t
        except ValueError:
            pass
        try:
            when = datetime.datetime.fromisoformat(text)
        except ValueError:
            raise DataError(file, f"row {row}, column {name}", repr(text), "epoch seconds or ISO 8601") from None
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)
    return float(when.timestamp())


def _values(file: Path, name: str, cells: Sequence[Any]) -> F64:
    try:
        return np.array(cells, np.float64)
    except (TypeError, ValueError):
        pass
    values = np.empty(len(cells))
    for place, cell in enumerate(cells):
        blank = cell is None or (isinstance(cell, str) and not cell.strip())
        try:
            values[place] = np.nan if blank else float(cell)
        except (TypeError, ValueError):
            raise DataError(file, f"row {place + 2}, column {name}", repr(cell), "a number") from None
    return values
