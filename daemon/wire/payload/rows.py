"""What a format makes of messages: rows of numbers and, where the payload has them, times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from daemon.core.records import F32, F64, I32
from daemon.errors import BadMessage


@dataclass(frozen=True, slots=True)
class Rows:
    """count: (M,) int32 rows of each message, 0 where it was refused. t: (N,) float64 epoch seconds, NaN where the
    format gives none. values: (N, C) float32, finite."""

    count: I32
    t: F64
    values: F32


class Format(Protocol):
    """One payload format of one stream."""

    def decode(self, payload: bytes) -> Rows:
        """Return the rows of one message. Raises BadMessage, and nothing else, whatever the bytes."""

    def decode_all(self, payloads: Sequence[bytes]) -> tuple[Rows, list[tuple[int, BadMessage]]]:
        """Return the rows of many messages, and which of them were refused and why."""


def one_by_one(decode: Format, payloads: Sequence[bytes], channels: int) -> tuple[Rows, list[tuple[int, BadMessage]]]:
    """Decode messages each on its own: the way out when a batch holds a bad one, and for those of many rows."""
    good: list[Rows] = []
    bad: list[tuple[int, BadMessage]] = []
    count = np.zeros(len(payloads), np.int32)
    for place, payload in enumerate(payloads):
        try:
            rows = decode.decode(payload)
        except BadMessage as error:
            bad.append((place, error))
        else:
            count[place] = rows.count[0]
            good.append(rows)
    t = np.concatenate([rows.t for rows in good]) if good else np.zeros(0)
    values = np.concatenate([rows.values for rows in good]) if good else np.zeros((0, channels), np.float32)
    return Rows(count, t, values), bad


def spread(rows: Rows, arrival: F64, interval_s: float | None) -> F64:
    """Return times for rows that bring none: a block's last row is stamped with its arrival.

    arrival: (M,) epoch seconds. Rows before the last one of a block are `interval_s` apart; all at the arrival where
    that is None. Returns (N,) float64.
    """
    t = np.repeat(arrival, rows.count)
    if interval_s is None or len(t) == int(np.count_nonzero(rows.count)):
        return t
    ends = np.cumsum(rows.count)
    behind = np.repeat(ends, rows.count) - 1 - np.arange(len(t))
    return t - behind * interval_s


def finite(values: F32) -> F32:
    """Return values that are finite as float32. Raises BadMessage (not-finite)."""
    if not np.isfinite(values).all():
        raise BadMessage("not-finite", "a value is NaN, infinite or beyond float32; expected finite numbers")
    return values
