"""The payload is one number as text."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from daemon.errors import BadMessage
from daemon.wire.payload.rows import Rows, finite, one_by_one

#: A decimal number; Python's float() also takes underscores, "nan" and "infinity", which no sensor means.
_NUMBER = re.compile(rb"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*")


class Number:
    """Decodes `21.5`: one row of one channel, no time."""

    def decode(self, payload: bytes) -> Rows:
        """Return the row of one message. Raises BadMessage: empty, not-number, not-finite."""
        if not payload.strip():
            raise BadMessage("empty", "got no bytes, expected a number as text")
        if len(payload) > 1000 or not _NUMBER.fullmatch(payload):
            raise BadMessage("not-number", f"got {payload[:40]!r}, expected a number as text, such as 21.5")
        with np.errstate(over="ignore"):
            values = np.array([[float(payload)]]).astype(np.float32)
        return Rows(np.ones(1, np.int32), np.full(1, np.nan), finite(values))

    def decode_all(self, payloads: Sequence[bytes]) -> tuple[Rows, list[tuple[int, BadMessage]]]:
        """Return the rows of many messages and what was refused."""
        match = _NUMBER.fullmatch
        if all(len(payload) <= 1000 and match(payload) for payload in payloads):
            with np.errstate(over="ignore"):
                values = np.array([float(payload) for payload in payloads], np.float64).astype(np.float32)
            if np.isfinite(values).all():
                n = len(payloads)
                return Rows(np.ones(n, np.int32), np.full(n, np.nan), values[:, None]), []
        return one_by_one(self, payloads, 1)
