"""The payload is a little-endian block of rows, C values each, oldest row first; no time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from daemon.config import BinaryPayload
from daemon.errors import BadMessage
from daemon.wire.payload.rows import Rows, finite, sift, untimed


class Binary:
    """Decodes float32, float64 or int16 blocks: value = raw * scale + offset, computed in float64, kept in float32."""

    def __init__(self, settings: BinaryPayload, channels: int, max_rows: int) -> None:
        self._kind = np.dtype(settings.dtype).newbyteorder("<")
        self._scale, self._offset = settings.scale, settings.offset
        self._channels, self._max_rows = channels, max_rows
        self._row_bytes = self._kind.itemsize * channels

    def decode(self, payload: bytes) -> Rows:
        """Return the payload's rows. Raises BadMessage: empty, bad-length, too-many-rows, not-finite."""
        if not payload:
            raise BadMessage("empty", f"no bytes where rows of {self._row_bytes} were expected")
        if len(payload) % self._row_bytes:
            raise BadMessage(
                "bad-length",
                f"got {len(payload)} bytes, expected a multiple of {self._row_bytes}: "
                f"{self._channels} x {self._kind.name}",
            )
        if len(payload) // self._row_bytes > self._max_rows:
            raise BadMessage("too-many-rows", f"got {len(payload) // self._row_bytes}, expected <= {self._max_rows}")
        return untimed(self._values(payload))

    def decode_all(self, payloads: Sequence[bytes]) -> tuple[Rows, list[tuple[int, BadMessage]]]:
        """Return the rows of all payloads and (index, why) of the refused ones."""
        return sift(self._bulk, self.decode, payloads, self._channels)

    def _bulk(self, payloads: Sequence[bytes]) -> Rows:
        count, rest = np.divmod(np.fromiter(map(len, payloads), np.int64, len(payloads)), self._row_bytes)
        # Whole rows only, so that joined blocks cannot shift values from one message into the next.
        if rest.any() or not count.all() or count.max() > self._max_rows:
            raise BadMessage("bad-length", "one of several")
        values = self._values(b"".join(payloads))
        return Rows(count.astype(np.int32), untimed(values).t, values)

    def _values(self, block: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        raw = np.frombuffer(block, self._kind).reshape(-1, self._channels)
        if self._scale == 1.0 and self._offset == 0.0:
            return finite(raw)
        with np.errstate(over="ignore", invalid="ignore"):
            return finite(raw.astype(np.float64) * self._scale + self._offset)
