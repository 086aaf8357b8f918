"""History files: CSV, CSV.gz and Parquet -> arrays. What cannot be used is said with file, row and column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from daemon.core.records import F32, F64
from daemon.errors import ConfigError, DataError
from daemon.wire import csvfile
from daemon.wire.column import Column

#: Names of a column of time stamps, tried in this order, in any case.
TIMES = ("timestamp", "time", "ts", "datetime", "date")

#: A label is no sensor.
IGNORED = ("anomaly",)

_T = TypeVar("_T")

_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


@dataclass(frozen=True, slots=True)
class Table:
    """One history file, in its own order: stamps may be late or double.

    t: (N,) float64 epoch seconds. values: (N, C) float32, finite. columns: C names.
    skipped: rows left out because a value was blank, NaN or beyond float32; live they would have been refused.
    """

    file: str
    t: F64
    values: F32
    columns: list[str]
    skipped: int


def read(file: str | Path, *, columns: Sequence[str] | None = None, time: str | None = None) -> Table:
    """Read a history file: a column of time stamps, and numeric columns.

    columns: only these, in this order; else all but the stamps and `anomaly`. time: the column of stamps, else one
    named as in TIMES. Stamps are epoch seconds or ISO 8601, without an offset in UTC. What a file is, its first bytes
    say. Raises DataError, or ConfigError where a Parquet file is given and pyarrow is not installed.
    """
    file = Path(file)
    names = header(file)
    stamp, wanted = _choose(file, names, columns, time)
    found = cells(file, names, [stamp, *wanted])
    t = found[0].stamps()
    values = np.column_stack([column.numbers() for column in found[1:]])
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    good = np.asarray(np.isfinite(narrow).all(axis=1))
    return Table(str(file), t[good], narrow[good], wanted, int(len(good) - good.sum()))


def header(file: Path) -> list[str]:
    """Return the names of a history file's columns, which all differ. Raises DataError, or ConfigError as `read`."""
    names = _read(file, lambda parquet: _parquet_names(file) if parquet else csvfile.header(file))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(file, "header", f"{', '.join(twice)} twice", "column names that differ")
    return names


def cells(file: Path, names: list[str], wanted: list[str]) -> list[Column]:
    """Return the wanted columns of a file whose header is `names`, at least one row long. Raises as `header`."""
    found = _read(file, lambda parquet: (_parquet if parquet else csvfile.columns)(file, names, wanted))
    if not len(found[0].cells):
        raise DataError(file, "contents", "no rows", "rows below the header")
    return found


def stamp_column(file: Path, names: list[str], time: str | None = None) -> str:
    """Return the name of the column of stamps: `time`, else the first of TIMES there is. Raises DataError."""
    seen = ", ".join(names)[:200]
    if time is None:
        lower = {name.lower(): name for name in reversed(names)}
        time = next((lower[name] for name in TIMES if name in lower), None)
        if time is None:
            hint = "commas between columns" if len(names) == 1 and set(";\t|") & set(seen) else "or --time NAME"
            raise DataError(file, "columns", seen, f"a time column: {', '.join(TIMES)}; {hint}")
    elif time not in names:
        raise DataError(file, "columns", seen, f"a time column named {time}")
    return time


def _read(file: Path, read_it: Callable[[bool], _T]) -> _T:
    """Return what reading gives; it is told whether the file is Parquet, which its first bytes say."""
    try:
        with open(file, "rb") as opened:
            parquet = opened.read(4) == b"PAR1"
        return read_it(parquet)
    except OSError as error:
        raise DataError(file, "file", error.strerror or error, "a readable CSV, CSV.gz or Parquet file") from None


def _choose(file: Path, names: list[str], columns: Sequence[str] | None, time: str | None) -> tuple[str, list[str]]:
    """Return the column of stamps and those of values."""
    seen = ", ".join(names)[:200]
    time = stamp_column(file, names, time)
    if columns:
        for name in columns:
            if name not in names:
                raise DataError(file, "columns", seen, f"one named {name}")
        return time, list(columns)
    wanted = [name for name in names if name != time and name.lower() not in IGNORED]
    if not wanted:
        raise DataError(file, "columns", seen, "a numeric column beside the time stamps")
    return time, wanted


def _parquet_names(file: Path) -> list[str]:
    _, parquet = _arrow(file)
    return list(_opened(file, parquet.read_schema).names)


def _parquet(file: Path, names: list[str], wanted: list[str]) -> list[Column]:
    arrow, parquet = _arrow(file)
    table = _opened(file, lambda path: parquet.read_table(path, columns=list(dict.fromkeys(wanted))))
    return [Column(file, name, _arrow_cells(arrow, file, name, table.column(name)), 1) for name in wanted]


def _arrow(file: Path) -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise ConfigError.one("parquet", "no pyarrow", "pip install 'anomalyd[parquet]', or a CSV file", file) from None
    return pyarrow, parquet


def _opened(file: Path, open_it: Any) -> Any:
    arrow, _ = _arrow(file)
    try:
        return open_it(file)
    except arrow.ArrowException as error:
        raise DataError(file, "contents", str(error)[:120], "a whole Parquet file") from None


def _arrow_cells(arrow: Any, file: Path, name: str, column: Any) -> F64 | list[str]:
    """Return a Parquet column as numbers, stamps as epoch seconds; or as text."""
    kinds, kind = arrow.types, column.type
    if kinds.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if kinds.is_date(kind):
        column = column.cast(arrow.timestamp("ms"))
        kind = column.type
    if kinds.is_timestamp(kind):
        blank = np.asarray(column.is_null())
        whole, rest = np.divmod(np.asarray(column.cast(arrow.int64()).fill_null(0)), _PER_SECOND[kind.unit])
        return np.asarray(np.where(blank, np.nan, whole + rest / _PER_SECOND[kind.unit]))
    if kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind):
        return np.asarray(column.cast(arrow.float64(), safe=False).to_numpy(), np.float64)
    if kinds.is_string(kind) or kinds.is_large_string(kind):
        return [cell or "" for cell in column.to_pylist()]
    raise DataError(file, f"column {name}", f"values of type {kind}", "numbers, or stamps where it is the time column")
