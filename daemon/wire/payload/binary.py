"""The payload is a little-endian block of rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from daemon.config import BinaryPayload
from daemon.core.records import F32
from daemon.errors import BadMessage
from daemon.wire.payload.rows import Rows, finite, one_by_one


class Binary:
    """Decodes rows of `channels` values each: value = raw * scale + offset, in float64, then float32. No time."""

    def __init__(self, settings: BinaryPayload, channels: int, max_rows: int) -> None:
        self._dtype = np.dtype(settings.dtype).newbyteorder("<")
        self._scale, self._offset = settings.scale, settings.offset
        self._plain = settings.dtype == "float32" and settings.scale == 1.0 and settings.offset == 0.0
        self._channels, self._max_rows = channels, max_rows
        self._row_bytes = self._dtype.itemsize * channels

    def decode(self, payload: bytes) -> Rows:
        """Return the rows of one message. Raises BadMessage: empty, bad-length, too-many-rows, not-finite."""
        n = self._rows(payload)
        return Rows(np.array([n], np.int32), np.full(n, np.nan), finite(self._values(payload)))

    def decode_all(self, payloads: Sequence[bytes]) -> tuple[Rows, list[tuple[int, BadMessage]]]:
        """Return the rows of many messages and what was refused; joined, as whole rows cannot shift each other."""
        try:
            count = np.array([self._rows(payload) for payload in payloads], np.int32)
            values = finite(self._values(b"".join(payloads)))
        except BadMessage:
            return one_by_one(self, payloads, self._channels)
        return Rows(count, np.full(len(values), np.nan), values), []

    def _rows(self, payload: bytes) -> int:
        n, rest = divmod(len(payload), self._row_bytes)
        if not payload:
            raise BadMessage("empty", f"got no bytes, expected rows of {self._row_bytes} bytes")
        if rest:
            raise BadMessage("bad-length", f"got {len(payload)} bytes, expected a multiple of {self._row_bytes}")
        if n > self._max_rows:
            raise BadMessage("too-many-rows", f"got {n} rows, limits.max_rows allows {self._max_rows}")
        return n

    def _values(self, payload: bytes) -> F32:
        raw = np.frombuffer(payload, self._dtype).reshape(-1, self._channels)
        if self._plain:
            return raw.astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            scaled: F32 = (raw.astype(np.float64) * self._scale + self._offset).astype(np.float32)
        return scaled
