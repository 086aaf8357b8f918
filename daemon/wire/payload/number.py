"""The payload is one number as text: `21.5`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from daemon.errors import BadMessage
from daemon.wire.payload.rows import Rows, finite, sift, untimed

#: A float64 needs at most 767 digits to be said exactly; longer text is no measurement.
LONGEST = 1024


class Number:
    """Decodes `21.5`, `-3`, `1e-4`, with white space around it; one channel, no time."""

    def decode(self, payload: bytes) -> Rows:
        """Return the payload's one row. Raises BadMessage: empty, not-number, not-finite."""
        if not payload.strip():
            raise BadMessage("empty", "no bytes where a number was expected")
        return self._bulk([payload])

    def decode_all(self, payloads: Sequence[bytes]) -> tuple[Rows, list[tuple[int, BadMessage]]]:
        """Return the rows of all payloads and (index, why) of the refused ones."""
        return sift(self._bulk, self.decode, payloads, 1)

    def _bulk(self, payloads: Sequence[bytes]) -> Rows:
        try:
            numbers = list(map(float, payloads))
        except ValueError:
            raise self._no_number(payloads[0]) from None
        # float() also takes 1_000. The bytes are joined for this question only, never decoded joined.
        if b"_" in b"".join(payloads) or max(map(len, payloads)) > LONGEST:
            raise self._no_number(payloads[0])
        values = finite(np.array(numbers)).reshape(-1, 1)
        return Rows(np.ones(len(values), np.int32), untimed(values).t, values)

    @staticmethod
    def _no_number(payload: bytes) -> BadMessage:
        return BadMessage("not-number", f"got {payload[:40]!r}, expected a number as text, such as 21.5")
