"""The obvious twin of the decoders: json, Decimal and struct, one value at a time; None where a message is refused."""

from __future__ import annotations

import json
import math
import re
import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np

Row = tuple[float | None, list[float]]

SECONDS = {None: 1, "s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


class Refused(Exception):
    pass


def _f32(value: float) -> float:
    with np.errstate(over="ignore"):
        narrow = float(np.float32(value))
    if not math.isfinite(narrow):
        raise Refused
    return narrow


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise Refused
    if abs(value) > 10**300:
        raise Refused
    return float(value)


def _time(stamp: Any, unit: str | None) -> float:
    if isinstance(stamp, str) and unit in (None, "iso"):
        when = datetime.fromisoformat(stamp)
        t = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    elif unit == "iso":
        raise Refused
    else:
        number = stamp if isinstance(stamp, int) else _number(stamp)
        _number(stamp)
        t = number / SECONDS[unit]
    if not 0 <= t < 1e11:
        raise Refused
    return t


def _find(document: Any, path: str) -> Any:
    for level in path.split("."):
        if isinstance(document, list) and level.isdigit() and int(level) < len(document):
            document = document[int(level)]
        elif isinstance(document, dict) and level in document:
            document = document[level]
        else:
            raise Refused
    return document


def number(payload: bytes) -> list[Row] | None:
    text = payload.strip()
    if not re.fullmatch(rb"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", text) or len(payload) > 1024:
        return None
    try:
        return [(None, [_f32(float(text))])]
    except Refused:
        return None


def binary(payload: bytes, dtype: str, scale: float, offset: float, channels: int, max_rows: int) -> list[Row] | None:
    code = {"float32": "f", "float64": "d", "int16": "h"}[dtype]
    width = struct.calcsize("<" + code * channels)
    if not payload or len(payload) % width or len(payload) // width > max_rows:
        return None
    try:
        return [
            (None, [_f32(v * scale + offset) for v in row])
            for row in struct.iter_unpack("<" + code * channels, payload)
        ]
    except Refused:
        return None


def json_object(
    payload: bytes, settings: Any, channels: int, max_rows: int, interval_s: float | None
) -> list[Row] | None:
    def stranger(name: str) -> None:
        raise ValueError(name)

    try:
        document = json.loads(payload.decode(), parse_float=Decimal, parse_constant=stranger)
        rows = [
            row
            for item in (document if isinstance(document, list) else [document])
            for row in _item(item, settings, channels, interval_s)
        ]
    except (ValueError, RecursionError, Refused):
        return None
    return rows if 0 < len(rows) <= max_rows else None


def _item(item: Any, settings: Any, channels: int, interval_s: float | None) -> list[Row]:
    if settings.values is None:
        values = [[_f32(_number(_find(item, path))) for path in settings.channels or [settings.value]]]
    else:
        block = _find(item, settings.values)
        if not isinstance(block, list) or not block:
            raise Refused
        if len({isinstance(sample, list) for sample in block}) == 2:
            raise Refused
        values = [[_f32(_number(v)) for v in (s if isinstance(s, list) else [s])] for s in block]
    if any(len(row) != channels for row in values):
        raise Refused
    n = len(values)
    t: list[float | None] = [None] * n
    if settings.t0 is not None:
        t0, dt = _time(_find(item, settings.t0), settings.time_unit), _number(_find(item, settings.dt))
        t = [t0 + dt * i for i in range(n)]
        if not dt > 0 or not t[-1] < 1e11:
            raise Refused
    elif settings.time is not None:
        stamps = _find(item, settings.time)
        if isinstance(stamps, list) and settings.values is not None:
            t = [_time(stamp, settings.time_unit) for stamp in stamps]
        elif n == 1:
            t = [_time(stamps, settings.time_unit)]
        elif interval_s is None:
            raise Refused
        else:
            last = _time(stamps, settings.time_unit)
            t = [last - interval_s * (n - 1 - i) for i in range(n)]
        if len(t) != n or min(t) < 0:
            raise Refused
    return list(zip(t, values, strict=True))
