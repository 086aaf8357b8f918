"""The payload is JSON: an object, an array of objects, or one object with an array of samples.

Each message is parsed on its own: joining payloads into one text would be faster by a third, but then a payload
such as `1],[2` could move a value into another sensor's message.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from daemon.config import JsonPayload
from daemon.core.records import F32, F64
from daemon.errors import BadMessage
from daemon.wire.payload.rows import Rows, finite, one_by_one
from daemon.wire.payload.times import check, seconds

_parse = msgspec.json.Decoder().decode

#: What parsing can raise: msgspec's own error, deep nesting, lone surrogates.
_PARSE_ERRORS = (msgspec.DecodeError, RecursionError, UnicodeError, ValueError)


class JsonObject:
    """Decodes as its settings say. Where an object names a field twice, the last one counts."""

    def __init__(self, settings: JsonPayload, channels: int, max_rows: int) -> None:
        self._settings, self._channels, self._max_rows = settings, channels, max_rows
        self._values = _path(settings.values) if settings.values else None
        self._fields = [_path(path) for path in settings.channels or ([settings.value] if settings.value else [])]
        self._time = _path(settings.time) if settings.time else None
        self._t0 = _path(settings.t0) if settings.t0 else None
        self._dt = _path(settings.dt) if settings.dt else None
        paths = [field.path for field in self._fields] + ([settings.time] if settings.time else [])
        flat = self._values is None and not any("." in path for path in paths)
        self._flat = paths if flat else []

    def decode(self, payload: bytes) -> Rows:
        """Return the rows of one message. Raises BadMessage for any other bytes."""
        if not payload:
            raise BadMessage("empty", "got no bytes, expected JSON")
        try:
            said = _parse(payload)
        except _PARSE_ERRORS as error:
            raise BadMessage("not-json", f"{str(error)[:80]}; got {payload[:40]!r}") from None
        if self._values is not None:
            return self._samples(said)
        objects = said if isinstance(said, list) else [said]
        if not objects:
            raise BadMessage("empty", "got an empty array, expected objects")
        self._bound(len(objects))
        values, t = np.empty((len(objects), self._channels)), np.full(len(objects), np.nan)
        for row, item in enumerate(objects):
            for channel, field in enumerate(self._fields):
                values[row, channel] = _number(field(item), field)
            if self._time is not None:
                t[row] = seconds(self._time(item), self._settings.time_unit)
        return Rows(np.array([len(objects)], np.int32), t, _float32(values))

    def decode_all(self, payloads: Sequence[bytes]) -> tuple[Rows, list[tuple[int, BadMessage]]]:
        """Return the rows of many messages and what was refused."""
        fast = self._fast(payloads) if self._flat else None
        return (fast, []) if fast is not None else one_by_one(self, payloads, self._channels)

    def _fast(self, payloads: Sequence[bytes]) -> Rows | None:
        """Return the rows of flat objects with plain numbers only; None where one message is anything else."""
        try:
            found = [[said[name] for name in self._flat] for said in map(_parse, payloads)]
        except (*_PARSE_ERRORS, KeyError, TypeError, IndexError):
            return None
        kinds = {type(item) for row in found for item in row}
        if not kinds <= {int, float}:
            return None
        try:
            table = np.array(found, np.float64).reshape(len(found), len(self._flat))
        except OverflowError:
            return None
        with np.errstate(over="ignore"):
            values = table[:, : self._channels].astype(np.float32)
        t = np.full(len(table), np.nan)
        if self._time is not None:
            if self._settings.time_unit not in (None, "s"):
                return None if self._settings.time_unit == "iso" else self._scaled(found, values)
            t = table[:, -1]
            if not ((t >= 0) & (t < 1e11)).all():
                return None
        if not np.isfinite(values).all():
            return None
        return Rows(np.ones(len(table), np.int32), t, values)

    def _scaled(self, found: list[list[Any]], values: F32) -> Rows | None:
        """Return rows whose times are whole milli-, micro- or nanoseconds, divided as integers divide."""
        if not np.isfinite(values).all():
            return None
        try:
            t = np.array([seconds(row[-1], self._settings.time_unit) for row in found])
        except BadMessage:
            return None
        return Rows(np.ones(len(found), np.int32), t, values)

    def _samples(self, said: Any) -> Rows:
        """Return the rows of one object with an array of samples."""
        assert self._values is not None
        samples = self._values(said)
        if not isinstance(samples, list):
            raise BadMessage("wrong-type", f"{self._values.path}: got {_kind(samples)}, expected an array")
        if not samples:
            raise BadMessage("empty", f"{self._values.path}: got an empty array, expected samples")
        self._bound(len(samples))
        n, width = len(samples), self._channels
        values = np.empty((n, width))
        for row, sample in enumerate(samples):
            numbers = sample if isinstance(sample, list) else [sample]
            if len(numbers) != width:
                raise BadMessage("channel-count", f"{self._values.path}.{row}: got {len(numbers)}, expected {width}")
            values[row] = [_number(number, self._values) for number in numbers]
        return Rows(np.array([n], np.int32), self._stamps(said, n), _float32(values))

    def _stamps(self, said: Any, n: int) -> F64:
        unit = self._settings.time_unit
        if self._t0 is not None and self._dt is not None:
            t0, dt = seconds(self._t0(said), unit), _number(self._dt(said), self._dt)
            if not 0 < dt < 1e9:
                raise BadMessage("bad-time", f"{self._dt.path}: got {dt}, expected seconds above 0")
            check(t0 + n * dt, t0)
            times: F64 = np.asarray(t0 + dt * np.arange(n), np.float64)
            return times
        if self._time is None:
            return np.full(n, np.nan)
        stamps = self._time(said)
        if isinstance(stamps, list):
            if len(stamps) != n:
                raise BadMessage("bad-time", f"{self._time.path}: got {len(stamps)} times, expected {n}, one a sample")
            return np.array([seconds(stamp, unit) for stamp in stamps])
        if n > 1:
            raise BadMessage(
                "bad-time", f"{self._time.path}: got one time for {n} samples, expected an array or t0, dt"
            )
        return np.array([seconds(stamps, unit)])

    def _bound(self, n: int) -> None:
        if n > self._max_rows:
            raise BadMessage("too-many-rows", f"got {n} rows, limits.max_rows allows {self._max_rows}")


class _path:  # noqa: N801 (used as a function)
    """Reads a.b.0 out of parsed JSON. Raises BadMessage (missing-field)."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._steps: list[Callable[[Any], Any]] = [
            operator.itemgetter(int(step)) if step.isascii() and step.isdecimal() else operator.itemgetter(step)
            for step in path.split(".")
        ]
        self._keys = path.split(".")

    def __call__(self, said: Any) -> Any:
        for step, key in zip(self._steps, self._keys, strict=True):
            try:
                said = said[key] if isinstance(said, dict) else step(said) if isinstance(said, list) else None
            except (KeyError, IndexError, TypeError):
                said = None
            if said is None:
                raise BadMessage("missing-field", f"expected a field {self.path}, found none or null")
        return said


def _number(value: Any, field: _path) -> float:
    """Return a JSON number as float; true, "1.5" and null are none. Raises BadMessage."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadMessage("wrong-type", f"{field.path}: got {_kind(value)}, expected a number")
    try:
        return float(value)
    except OverflowError:
        raise BadMessage("not-finite", f"{field.path}: got a number beyond float32") from None


def _float32(values: F64) -> F32:
    with np.errstate(over="ignore"):
        return finite(values.astype(np.float32))


def _kind(value: Any) -> str:
    names = {bool: "true or false", str: "text", list: "an array", dict: "an object", type(None): "null"}
    return names.get(type(value), "a number")
