"""The payload is JSON: an object, an array of objects, or one object with arrays of samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec
import numpy as np

from daemon.config import JsonPayload
from daemon.core.records import F64, I32
from daemon.errors import BadMessage
from daemon.wire.payload import times
from daemon.wire.payload.fields import Field
from daemon.wire.payload.rows import NUMBERS, Decoded, Rows, floats, in_two_steps, joined, pieces, sift, told
from daemon.wire.payload.typed import Typed


class JsonObject:
    """Decodes what JsonPayload describes. Of two equal keys in an object the last one counts.

    What has the expected types is read by Typed. What has not, arrays of objects among it, is parsed whole and looked
    at field by field: there a refusal finds its reason. What stands in fields that nobody named does not matter.

    Each message is parsed by itself: joined, a payload such as `1,2` would move the values of those behind it.
    interval_s places the earlier rows of a block whose single time is that of its last row.
    """

    def __init__(self, settings: JsonPayload, channels: int, max_rows: int, interval_s: float | None) -> None:
        single = [settings.value] if settings.value is not None else settings.channels or []
        self._fields = [Field(path) for path in single]
        self._block = _field(settings.values)
        self._time, self._t0, self._dt = _field(settings.time), _field(settings.t0), _field(settings.dt)
        self._unit = settings.time_unit
        self._channels, self._max_rows, self._interval_s = channels, max_rows, interval_s
        self._parse = msgspec.json.Decoder().decode
        try:
            self._typed: Typed | None = Typed(settings, channels, max_rows, interval_s)
        except ValueError:
            self._typed = None

    def decode(self, payload: bytes) -> Rows:
        """Return the payload's rows.

        Raises BadMessage: empty, not-json, missing-field, wrong-type, not-finite, bad-time, channel-count,
        too-many-rows.
        """
        if self._typed is not None:
            rows, left = self._typed.decode([payload])
            if not len(left):
                return rows
        return self._decode(payload)

    def _decode(self, payload: bytes) -> Rows:
        return self._rows([self._document(payload)])

    def decode_all(self, payloads: Sequence[bytes]) -> Decoded:
        """Return the rows of all payloads and (index, why) of the refused ones."""
        if self._typed is None:
            return self._sift(payloads)
        parts: list[Rows] = []
        bad: list[tuple[int, BadMessage]] = []
        for start, stop in pieces(payloads):
            rows, wrong = in_two_steps(self._typed.decode, self._sift, payloads[start:stop])
            parts.append(rows)
            bad += [(start + at, error) for at, error in wrong]
        return joined(parts, self._channels), bad

    def _sift(self, payloads: Sequence[bytes]) -> Decoded:
        return sift(self._bulk, self._decode, payloads, self._channels)

    def _bulk(self, payloads: Sequence[bytes]) -> Rows:
        try:
            documents = list(map(self._parse, payloads))
        except _UNREADABLE:
            raise BadMessage("not-json", "one of several") from None
        return self._rows(documents)

    def _document(self, payload: bytes) -> Any:
        if not payload:
            raise BadMessage("empty", "no bytes where JSON was expected")
        try:
            return self._parse(payload)
        except _UNREADABLE as error:
            if "out of range" in str(error):
                raise BadMessage("not-finite", f"a number that no float64 holds: {error}") from None
            hint = "; NaN and Infinity are no JSON" if b"NaN" in payload or b"Infinity" in payload else ""
            raise BadMessage("not-json", f"{str(error)[:120]}{hint}: {payload[:40]!r}") from None

    def _rows(self, documents: Sequence[Any]) -> Rows:
        """Return the rows of one document for each message; one bad document refuses them all."""
        items, count = documents, np.ones(len(documents), np.int32)
        if list in set(map(type, documents)):
            arrays = [document if isinstance(document, list) else [document] for document in documents]
            if not all(arrays):
                raise BadMessage("empty", "an empty array")
            items, count = list(chain.from_iterable(arrays)), self._counts(arrays)
        if self._block is None:
            values = np.hstack([floats(field.of_all(items), 1) for field in self._fields])
            t = (
                np.full(len(items), np.nan)
                if self._time is None
                else times.epoch_s(self._time.of_all(items), self._unit)
            )
            return Rows(count, t, values)
        blocks = [_samples(block, self._block.path) for block in self._block.of_all(items)]
        sizes = self._counts(blocks)
        if len(items) > len(documents):
            sizes = np.add.reduceat(sizes, np.cumsum(count) - count, dtype=np.int64).astype(np.int32)
            self._check_rows(int(sizes.max()))
        values = floats(list(chain.from_iterable(map(self._flat, blocks))), self._channels)
        t = np.concatenate([self._times(item, len(block)) for item, block in zip(items, blocks, strict=True)])
        return Rows(sizes, t, values)

    def _counts(self, arrays: Sequence[list[Any]]) -> I32:
        count = np.fromiter(map(len, arrays), np.int32, len(arrays))
        self._check_rows(int(count.max()))
        return count

    def _flat(self, block: list[Any]) -> list[Any]:
        """Return a block's numbers, C for each row. A row of one channel may be a number or a list of one."""
        kinds = set(map(type, block))
        if kinds == {list}:
            if set(map(len, block)) != {self._channels}:
                wrong = next(len(row) for row in block if len(row) != self._channels)
                raise BadMessage("channel-count", f"a row of {wrong} values, expected {self._channels}")
            return list(chain.from_iterable(block))
        if self._channels > 1 and kinds <= NUMBERS:
            raise BadMessage("channel-count", f"rows of 1 value, expected lists of {self._channels}")
        return block

    def _times(self, item: Any, n: int) -> F64:
        """Return the times of one object's n samples."""
        if self._t0 is not None and self._dt is not None:
            t0, dt = float(times.epoch_s([self._t0.of(item)], self._unit)[0]), self._dt.of(item)
            if type(dt) not in NUMBERS or not 0 < dt < math.inf:
                raise BadMessage("bad-time", f"dt: got {told(dt)}, expected seconds > 0")
            if not t0 + min(dt, times.LATEST_S) * (n - 1) < times.LATEST_S:
                raise BadMessage("bad-time", f"{n} samples, dt apart, end after {times.LATEST_S:g} s; dt is in seconds")
            return np.asarray(t0 + float(min(dt, times.LATEST_S)) * np.arange(n))
        if self._time is None:
            return np.full(n, np.nan)
        stamps = self._time.of(item)
        if isinstance(stamps, list):
            if len(stamps) != n:
                raise BadMessage("bad-time", f"{len(stamps)} times for {n} values")
            return times.epoch_s(stamps, self._unit)
        last = float(times.epoch_s([stamps], self._unit)[0])
        if n > 1 and self._interval_s is None:
            raise BadMessage("bad-time", f"one time for {n} values: send an array of times, or set interval_s")
        t = np.asarray(last - (self._interval_s or 0.0) * np.arange(n - 1, -1, -1))
        if t[0] < 0:
            raise BadMessage("bad-time", f"{n} values, interval_s apart, begin before 1970")
        return t

    def _check_rows(self, n: int) -> None:
        if n > self._max_rows:
            raise BadMessage("too-many-rows", f"got {n}, expected <= {self._max_rows}")


#: Everything msgspec raises for bytes that are not JSON; deep nesting and bad UTF-8 among them.
_UNREADABLE = (msgspec.DecodeError, RecursionError, ValueError, OverflowError)


def _field(path: str | None) -> Field | None:
    return None if path is None else Field(path)


def _samples(block: Any, path: str) -> list[Any]:
    if not isinstance(block, list):
        raise BadMessage("wrong-type", f"{path!r}: got {told(block)}, expected an array of samples")
    if not block:
        raise BadMessage("empty", f"{path!r}: an empty array")
    return block
