"""Rows -> bytes, the other way round: what a sensor would have to send so that a stream decodes these rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import numpy as np

from daemon.config import BinaryPayload, JsonPayload, NumberPayload
from daemon.core.records import F32
from daemon.errors import ConfigError

Encode = Callable[[float, F32], bytes]

_PER_SECOND = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def encoder(payload: JsonPayload | NumberPayload | BinaryPayload | None, columns: Sequence[str]) -> Encode:
    """Return the function that turns (t, C values) into a payload of one row that these settings decode.

    t: epoch seconds. columns: C names; where `payload.channels` names the same ones, each value goes to its own. None
    encodes {"timestamp": t, column: value, ...}. Raises ConfigError where a row cannot be said in the format; the
    function itself does so for values that an int16 cannot hold.
    """
    if payload is None:
        return _plain(columns)
    if isinstance(payload, BinaryPayload):
        return _binary(payload)
    if isinstance(payload, NumberPayload):
        _one_column("payload.format", "number", columns)
        return lambda t, values: repr(float(values[0])).encode()
    if payload.value is not None:
        _one_column("payload.value", payload.value, columns)
    return _json(payload, columns)


def _plain(columns: Sequence[str]) -> Encode:
    if "timestamp" in columns:
        raise ConfigError.one("columns", "a column of values named timestamp", "other columns (--columns)")
    names = list(columns)
    return lambda t, values: _text({"timestamp": float(t)} | dict(zip(names, values.tolist(), strict=True)))


def _binary(payload: BinaryPayload) -> Encode:
    kind = np.dtype(payload.dtype).newbyteorder("<")
    scale, offset = payload.scale, payload.offset
    if kind.kind == "f":

        def encode_floats(t: float, values: F32) -> bytes:
            with np.errstate(over="ignore"):
                raw = ((values.astype(np.float64) - offset) / scale).astype(kind)
            if not np.isfinite(raw).all():
                raise _out_of_range(payload, values)
            return raw.tobytes()

        return encode_floats
    least, most = np.iinfo(kind).min, np.iinfo(kind).max

    def encode_whole(t: float, values: F32) -> bytes:
        raw = np.rint((values.astype(np.float64) - offset) / scale)
        if not ((raw >= least) & (raw <= most)).all():
            raise _out_of_range(payload, values)
        return raw.astype(kind).tobytes()

    return encode_whole


def _json(payload: JsonPayload, columns: Sequence[str]) -> Encode:
    fields = payload.channels
    order = list(range(len(columns)))
    if fields is not None:
        if set(fields) <= set(columns):
            order = [list(columns).index(field) for field in fields]
        elif len(fields) != len(columns):
            raise ConfigError.one("columns", ", ".join(columns), f"{len(fields)} of them, or {', '.join(fields)}")

    def encode(t: float, values: F32) -> bytes:
        out: dict[str, Any] = {}
        numbers = [float(values[at]) for at in order]
        if payload.value is not None:
            _put(out, payload.value, numbers[0])
        elif payload.values is not None:
            _put(out, payload.values, [numbers if len(numbers) > 1 else numbers[0]])
        for path, number in zip(fields or (), numbers, strict=False):
            _put(out, path, number)
        if payload.time is not None:
            _put(out, payload.time, stamp(t, payload.time_unit))
        if payload.t0 is not None and payload.dt is not None:
            _put(out, payload.t0, stamp(t, payload.time_unit))
            _put(out, payload.dt, 1.0)  # of one row to a next one that is not there
        return _text(out)

    return encode


def stamp(t: float, unit: str | None) -> float | str:
    """Return epoch seconds as a payload's stamp in that unit; whole where nothing is lost by it.

    Read back it is t: within a microsecond for "iso", to the last digits of a float64 for the others.
    """
    if unit == "iso":
        return (_EPOCH + timedelta(microseconds=round(Fraction(t) * 1_000_000))).isoformat().replace("+00:00", "Z")
    per_second = _PER_SECOND.get(unit or "s", 1)
    whole = round(Fraction(t) * per_second)  # exactly: t * 1e9 has lost 128 ns today
    if whole / per_second == t and per_second > 1:
        return whole
    return t * per_second


def _put(out: dict[str, Any], path: str, value: object) -> None:
    """Set a nested field given as a.b.c; a level that is a number becomes an object's key, which reads the same."""
    *parents, last = path.split(".")
    for parent in parents:
        out = out.setdefault(parent, {})
    out[last] = value


def _text(out: dict[str, Any]) -> bytes:
    return json.dumps(out, ensure_ascii=False).encode()


def _one_column(key: str, what: str, columns: Sequence[str]) -> None:
    if len(columns) != 1:
        raise ConfigError.one(key, f"{what}, for {len(columns)} columns", "one column (--columns NAME)")


def _out_of_range(payload: BinaryPayload, values: F32) -> ConfigError:
    worst = float(values[np.abs(values).argmax()])
    return ConfigError.one("payload", f"the value {worst:g}", f"what {payload.dtype} x scale + offset can hold")
