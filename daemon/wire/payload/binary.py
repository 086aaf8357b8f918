"""The payload is a little-endian block of rows, C values each, oldest row first; no time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from daemon.config import BinaryPayload
from daemon.core.records import F32, F64, I64
from daemon.errors import BadMessage
from daemon.wire.payload.rows import Decoded, Rows, all_of, finite, in_two_steps, narrow, one_by_one, untimed


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
        return untimed(finite(self._scaled(payload)))

    def decode_all(self, payloads: Sequence[bytes]) -> Decoded:
        """Return the rows of all payloads and (index, why) of the refused ones."""
        return in_two_steps(self._fast, self._slow, payloads)

    def _slow(self, payloads: Sequence[bytes]) -> Decoded:
        return one_by_one(self.decode, payloads, self._channels)

    def _fast(self, payloads: Sequence[bytes]) -> tuple[Rows, I64]:
        """Return the rows of the good blocks, and the places of the rest.

        Whole blocks of whole rows are joined, so no value can shift from one message into the next.
        """
        sizes, rest = np.divmod(np.fromiter(map(len, payloads), np.int64, len(payloads)), self._row_bytes)
        good = (rest == 0) & (sizes > 0) & (sizes <= self._max_rows)
        while True:
            some = payloads if good.all() else [payloads[at] for at in np.flatnonzero(good).tolist()]
            values, fine = narrow(self._scaled(bytearray().join(some)))
            kept = all_of(fine, sizes[good])
            if kept.all():
                return untimed(values, np.where(good, sizes, 0).astype(np.int32)), np.flatnonzero(~good)
            good[np.flatnonzero(good)[~kept]] = False

    def _scaled(self, block: bytes | bytearray) -> F32 | F64:
        raw = np.frombuffer(block, self._kind).reshape(-1, self._channels)
        if self._scale == 1.0 and self._offset == 0.0:
            return raw
        with np.errstate(over="ignore", invalid="ignore"):
            return raw.astype(np.float64) * self._scale + self._offset
