"""The payload is one number as text: `21.5`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from daemon.core.records import I64
from daemon.errors import BadMessage
from daemon.wire.payload.rows import Decoded, Rows, finite, in_two_steps, narrow, one_by_one, untimed

#: A float64 needs at most 767 digits to be said exactly; longer text is no measurement.
LONGEST = 1024


class Number:
    """Decodes `21.5`, `-3`, `1e-4`, with white space around it; one channel, no time."""

    def decode(self, payload: bytes) -> Rows:
        """Return the payload's one row. Raises BadMessage: empty, not-number, not-finite."""
        if not payload.strip():
            raise BadMessage("empty", "no bytes where a number was expected")
        value = _number(payload)
        if value is None:
            raise BadMessage("not-number", f"got {payload[:40]!r}, expected a number as text, such as 21.5")
        return untimed(finite(np.array([[value]])))

    def decode_all(self, payloads: Sequence[bytes]) -> Decoded:
        """Return the rows of all payloads and (index, why) of the refused ones."""
        return in_two_steps(self._fast, lambda rest: one_by_one(self.decode, rest, 1), payloads)

    def _fast(self, payloads: Sequence[bytes]) -> tuple[Rows, I64]:
        """Return the rows of the finite numbers among the payloads, and the places of the rest."""
        if not payloads:
            return untimed(np.empty((0, 1), np.float32), np.empty(0, np.int32)), np.empty(0, np.int64)
        numbers: list[float] = []
        coming = map(float, payloads)
        while len(numbers) < len(payloads):
            try:
                numbers.extend(coming)  # keeps what came before an error, and goes on behind it
            except ValueError:
                numbers.append(np.nan)
        # float() also takes 1_000. The bytes are joined for this question only, never decoded joined.
        if b"_" in b"".join(payloads) or max(map(len, payloads)) > LONGEST:
            numbers = [np.nan if _number(payload) is None else n for payload, n in zip(payloads, numbers, strict=True)]
        values, good = narrow(np.array(numbers).reshape(-1, 1))
        return untimed(values[good] if not good.all() else values, good.astype(np.int32)), np.flatnonzero(~good)


def _number(payload: bytes) -> float | None:
    if b"_" in payload or len(payload) > LONGEST:
        return None
    try:
        return float(payload)
    except ValueError:
        return None
