"""Long tables (sensor, time, value in each row) -> one series per sensor, or one of all where their stamps agree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from daemon.core.records import F64, I64
from daemon.errors import DataError
from daemon.wire.column import Column

#: What historians call the column of sensor names, and of values; in any case.
SENSORS = (
    "sensor", "sensor_id", "sensorid", "tag", "tagname", "tag_name", "channel", "variable", "signal", "point",
    "metric", "name",
)  # fmt: skip
VALUES = ("value", "val", "reading", "measurement")
#: What else a long table may have without doubt about its being one.
BESIDE = ("anomaly", "label", "quality", "unit", "units", "status")

#: Sensors become columns of one series where each has this share of all stamps; fewer, and most rows were incomplete.
TOGETHER = 0.9


@dataclass(frozen=True, slots=True)
class Part:
    """One series of a file. t (N,), values (N, C) float64 with NaN where blank, label: its cells, rows (N,)."""

    name: str
    columns: tuple[str, ...]
    t: F64
    values: F64
    label: Column | None
    rows: I64


def long_columns(file: Path, names: list[str], layout: str | None) -> tuple[str, str] | None:
    """Return the columns of sensor names and of values in a long table, or None where the table is wide.

    names: the columns but the stamps and the label. layout: "wide" or "long" ends the doubt. Raises DataError.
    """
    if layout == "wide":
        return None
    lower = {name.lower(): name for name in reversed(names)}
    sensor = next((lower[name] for name in SENSORS if name in lower), None)
    value = next((lower[name] for name in VALUES if name in lower), None)
    if sensor is None or value is None:
        if layout is None:
            return None
        expected = f"a column of sensors ({', '.join(SENSORS)}) and one of values ({', '.join(VALUES)})"
        raise DataError(file, "columns", ", ".join(names)[:200], f"{expected}, as --layout long says")
    doubt = [name for name in names if name not in (sensor, value) and name.lower() not in BESIDE]
    return None if doubt and layout is None else (sensor, value)


def apart(
    stamps: Column, sensors: Column, values: Column, label: Column | None = None, only: tuple[str, ...] | None = None
) -> list[Part]:
    """Return the series of a long table, sensors in the order they are met. only: these sensors, in this order.

    Sensors with nearly all stamps in common, none twice, are columns of one series, NaN where one has no value.
    A label counts for the sensor in its row, so where there are labels each sensor stays a series of its own.
    """
    file, t, numbers = stamps.file, stamps.stamps(), values.numbers("a number, or a blank where there is no value")
    cells = [f"{cell:g}" for cell in sensors.cells] if isinstance(sensors.cells, np.ndarray) else sensors.cells
    codes: dict[str, int] = {}
    code = np.array([codes.setdefault(cell.strip(), len(codes)) for cell in cells], np.int64)
    if "" in codes:
        raise sensors.wrong(int(np.argmax(code == codes[""])), "a blank", "the sensor's name")
    names = list(only or codes)
    for name in names:
        if name not in codes:
            raise DataError(file, f"column {sensors.name}", ", ".join(codes)[:200], f"a sensor named {name}")
    rows = np.array([stamps.row(k) for k in range(len(t))], np.int64)
    order = np.argsort(code, kind="stable")
    ends = np.cumsum(np.bincount(code, minlength=len(codes)))
    places = [order[ends[codes[name]] - np.sum(code == codes[name]) : ends[codes[name]]] for name in names]
    if label is None and len(names) > 1:
        stamps_of, numbers_of = [t[place] for place in places], [numbers[place] for place in places]
        joined = _together(file, names, stamps_of, numbers_of, [rows[place] for place in places])
        if joined is not None:
            return [joined]
    return [
        Part(name, (name,), t[place], numbers[place, None], _taken(label, place, rows), rows[place])
        for name, place in zip(names, places, strict=True)
    ]


def _taken(label: Column | None, place: I64, rows: I64) -> Column | None:
    if label is None:
        return None
    cells = label.cells
    taken = cells[place] if isinstance(cells, np.ndarray) else [cells[k] for k in place.tolist()]
    return Column(label.file, label.name, taken, label.first, rows[place].tolist())


def _together(file: Path, names: list[str], t: list[F64], values: list[F64], rows: list[I64]) -> Part | None:
    """Return all sensors as columns of one series, in order of time; None where their stamps differ too much."""
    every, first = np.unique(np.concatenate(t), return_index=True)
    if min(map(len, t)) < TOGETHER * len(every):
        return None
    table = np.full((len(every), len(names)), np.nan)
    for column, (stamps, numbers) in enumerate(zip(t, values, strict=True)):
        if (np.diff(stamps) <= 0).any():
            return None
        table[np.searchsorted(every, stamps), column] = numbers
    return Part(file.name, tuple(names), every, table, None, np.concatenate(rows)[first])
