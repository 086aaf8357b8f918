"""JSON of one expected shape, many messages at once: what fits is read straight into numbers, what does not is left.

The parser is given the types, so it builds no object for fields that nobody asked for, and checks on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Annotated, Any

import msgspec
import numpy as np

from daemon.config import JsonPayload
from daemon.core.records import F32, F64, I64, Bool
from daemon.wire.payload import times
from daemon.wire.payload.rows import Rows, all_of, narrow

Get = Callable[[Any], Any]


class Typed:
    """Decodes messages that are one object with the expected fields and types.

    Raises ValueError where the settings name a field that no type can be made for: one in an array (a.0), or with a
    quote in its name.
    """

    def __init__(self, settings: JsonPayload, channels: int, max_rows: int, interval_s: float | None) -> None:
        self._channels, self._max_rows, self._interval_s = channels, max_rows, interval_s
        self._unit = settings.time_unit
        stamp: Any = str if self._unit == "iso" else int | float | (str if self._unit is None else int)
        row: Any = float
        if channels > 1:
            row = Annotated[list[float], msgspec.Meta(min_length=channels, max_length=channels)]
        leaves: dict[str, Any] = dict.fromkeys([settings.value] if settings.value else settings.channels or [], float)
        self._columns = len(leaves)
        if settings.values is not None:
            leaves[settings.values] = list[row]
        if settings.time is not None:
            leaves[settings.time] = stamp if settings.values is None else stamp | list[stamp]
        if settings.t0 is not None and settings.dt is not None:
            leaves |= {settings.t0: stamp, settings.dt: float}
        shape, ways = _shape([(path.split("."), kind) for path, kind in leaves.items()])
        found: dict[str, Get] = dict(zip(leaves, map(attrgetter, ways), strict=True))
        self._parse = msgspec.json.Decoder(shape).decode
        self._fields = list(found.values())[: self._columns]
        self._block, self._time = found.get(settings.values or ""), found.get(settings.time or "")
        self._t0, self._dt = found.get(settings.t0 or ""), found.get(settings.dt or "")

    def decode(self, payloads: Sequence[bytes]) -> tuple[Rows, I64]:
        """Return the rows of all messages that fit, and the places of those that do not (their count is 0)."""
        documents: list[Any] = []
        coming = map(self._parse, payloads)
        while len(documents) < len(payloads):
            try:
                documents.extend(coming)  # keeps what came before an error, and goes on behind it
            except (msgspec.DecodeError, RecursionError, ValueError, OverflowError):
                documents.append(None)
        places = np.arange(len(payloads))
        good: Bool = np.fromiter((document is not None for document in documents), bool, len(documents))
        while True:
            if not good.all():
                documents = [document for document, fine in zip(documents, good.tolist(), strict=True) if fine]
                places = places[good]
            sizes, values, t, good = self._rows(documents)
            if good.all():
                count = np.zeros(len(payloads), np.int32)
                count[places] = sizes
                return Rows(count, t, values), np.flatnonzero(count == 0)

    def _rows(self, documents: list[Any]) -> tuple[I64, F32, F64, Bool]:
        """Return (rows of each document, values, times, which documents are good); with a bad one, only that counts."""
        n = len(documents)
        if self._block is None:
            sizes = np.ones(n, np.int64)
            columns = [np.fromiter(map(get, documents), np.float64, n) for get in self._fields]
            values, good = narrow(np.stack(columns, axis=1))
            if self._time is None:
                return sizes, values, np.full(n, np.nan), good
            t = times.epoch_s_or_nan(list(map(self._time, documents)), self._unit)
            return sizes, values, t, good & ~np.isnan(t)
        blocks = list(map(self._block, documents))
        sizes = np.fromiter(map(len, blocks), np.int64, n)
        good = (sizes > 0) & (sizes <= self._max_rows)
        if not good.all():
            return sizes, _NONE, _NONE_T, good
        numbers = chain.from_iterable(blocks)
        if self._channels > 1:
            numbers = chain.from_iterable(numbers)
        flat = np.fromiter(numbers, np.float64, int(sizes.sum()) * self._channels)
        values, fine = narrow(flat.reshape(-1, self._channels))
        t, in_time = self._block_times(documents, sizes)
        good = in_time & all_of(fine, sizes)
        return sizes, values, t, good

    def _block_times(self, documents: list[Any], sizes: I64) -> tuple[F64, Bool]:
        """Return the times of all rows, and which documents' are good."""
        ends = np.cumsum(sizes)
        row = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - sizes, sizes)
        if self._t0 is not None and self._dt is not None:
            t0 = times.epoch_s_or_nan(list(map(self._t0, documents)), self._unit)
            dt = np.fromiter(map(self._dt, documents), np.float64, len(documents))
            dt, known = np.minimum(dt, times.LATEST_S), dt > 0
            good = known & (t0 + dt * (sizes - 1) < times.LATEST_S)
            return np.repeat(t0, sizes) + np.repeat(dt, sizes) * row, good
        if self._time is None:
            return np.full(len(row), np.nan), np.ones(len(documents), bool)
        stamps = list(map(self._time, documents))
        several: Bool = np.fromiter((type(stamp) is list for stamp in stamps), bool, len(stamps))
        if several.all():
            good = np.fromiter(map(len, stamps), np.int64, len(stamps)) == sizes
            if not good.all():
                return _NONE_T, good
            t = times.epoch_s_or_nan(list(chain.from_iterable(stamps)), self._unit)
            return t, all_of(~np.isnan(t), sizes)
        if several.any():
            return _NONE_T, ~several  # a mixture nobody sends: the arrays go the slow way
        last = times.epoch_s_or_nan(stamps, self._unit)
        step_s = self._interval_s or 0.0
        t = np.repeat(last, sizes) - step_s * (np.repeat(sizes, sizes) - 1 - row)
        good = ~np.isnan(last) & (last - step_s * (sizes - 1) >= 0)
        return t, good & (sizes == 1) if self._interval_s is None else good


_NONE, _NONE_T = np.empty((0, 1), np.float32), np.empty(0)


def _shape(leaves: Sequence[tuple[list[str], Any]]) -> tuple[type[msgspec.Struct], list[str]]:
    """Return a struct type with these leaves, each (levels of its path, type), and the attribute that each becomes.

    Raises ValueError for names that no struct can have.
    """
    names = list(dict.fromkeys(levels[0] for levels, _ in leaves))
    if any(name.isdigit() for levels, _ in leaves for name in levels):
        raise ValueError("a number may be a place in an array")
    ways = [""] * len(leaves)
    fields = []
    for at, name in enumerate(names):
        mine = [number for number, (levels, _) in enumerate(leaves) if levels[0] == name]
        levels, kind = leaves[mine[0]]
        if len(levels) == 1:
            ways[mine[0]] = f"f{at}"
        else:
            kind, inner = _shape([(leaves[number][0][1:], leaves[number][1]) for number in mine])
            for number, way in zip(mine, inner, strict=True):
                ways[number] = f"f{at}.{way}"
        fields.append((f"f{at}", kind))
    rename = {f"f{at}": name for at, name in enumerate(names)}
    return msgspec.defstruct("Shape", fields, rename=rename, gc=False), ways
