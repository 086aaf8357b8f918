"""What every format decodes to, and the rules they share: numbers are finite float32, a bad message stands alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from daemon.core.records import F32, F64, I32, I64, Bool
from daemon.errors import BadMessage

#: What a JSON number decodes to. bool is no number, so types are compared exactly.
NUMBERS = frozenset((int, float))

#: Payload bytes decoded at once. Parsed JSON takes up to 24 times its bytes; so a drain of the whole inbox stays small.
BULK_BYTES = 2**20

#: Below this many payloads they are decoded one by one rather than halved again in search of a bad one.
FEW = 8

#: How often each payload may be decoded in vain, on average: where all are bad, halving would do it eleven times.
VAIN = 3


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of m messages, in the order of the messages and, within one, in time order.

    count: (m,) int32 rows per message, 0 where it was refused. t: (N,) float64 epoch seconds, NaN where the format
    has no time. values: (N, C) float32, finite.
    """

    count: I32
    t: F64
    values: F32


#: What many payloads gave: all rows, and (index, why) of each payload that was refused.
Decoded = tuple[Rows, list[tuple[int, BadMessage]]]


class Format(Protocol):
    """Turns payloads into rows. A payload gives all its rows or none."""

    def decode(self, payload: bytes) -> Rows:
        """Return the rows of one payload. Raises BadMessage and nothing else, whatever the bytes."""

    def decode_all(self, payloads: Sequence[bytes]) -> Decoded:
        """Return what `decode` gives for each payload, and (index, why) of each refused one. Never raises."""


def untimed(values: F32, count: I32 | None = None) -> Rows:
    """Return rows without times, of one message where no count is given."""
    return Rows(np.array([len(values)], np.int32) if count is None else count, np.full(len(values), np.nan), values)


def spread(rows: Rows, arrival: F64, interval_s: float | None) -> F64:
    """Return a time for each row of a format that carries none.

    A message's last row gets its arrival (m,), epoch seconds; earlier ones lie interval_s apart before it, or all at
    the arrival where the interval is unknown.
    """
    t = np.repeat(arrival, rows.count)
    if interval_s is None or not (rows.count > 1).any():
        return t
    after = np.repeat(np.cumsum(rows.count), rows.count) - 1 - np.arange(len(t))
    return t - after * interval_s


def floats(numbers: Sequence[Any], columns: int) -> F32:
    """Return ints and floats as (N, columns) float32, which is where they must be finite: 1e300 is not.

    Raises BadMessage: wrong-type where one is no number, not-finite.
    """
    if not NUMBERS.issuperset(map(type, numbers)):
        raise BadMessage("wrong-type", f"got {_first_stranger(numbers)}, expected a number")
    try:
        return finite(np.array(numbers, np.float64).reshape(-1, columns))
    except OverflowError:
        raise BadMessage("not-finite", "a number is too large for a float32") from None


def finite(values: F64 | F32) -> F32:
    """Return values as float32. Raises BadMessage: not-finite where one is NaN or infinite then."""
    with np.errstate(over="ignore", invalid="ignore"):
        out = values.astype(np.float32)
    good = np.isfinite(out)
    if not good.all():
        worst = float(values[~good].flat[0])
        raise BadMessage("not-finite", f"got {worst!r}, expected a number that is finite as a float32")
    return out


def narrow(values: F64 | F32) -> tuple[F32, Bool]:
    """Return (N, C) values as float32, and which rows are finite then."""
    with np.errstate(over="ignore", invalid="ignore"):
        out = values.astype(np.float32, copy=False)
    good = np.isfinite(out)
    return out, good[:, 0] if good.shape[1] == 1 else np.asarray(good.all(axis=1))


def all_of(rows: Bool, sizes: I64) -> Bool:
    """Return, for each message of so many rows, whether all its rows are good."""
    good = np.ones(len(sizes), bool)
    if not rows.all():
        good[np.repeat(np.arange(len(sizes)), sizes)[~rows]] = False
    return good


def told(value: object) -> str:
    """Return a value as a detail shows it: its kind, and itself where it is short."""
    names = {bool: "true or false", str: "text", type(None): "null", dict: "an object", list: "an array"}
    kind = names.get(type(value), "a number")
    return f"{kind} {value[:40]!r}" if isinstance(value, str) else kind


def _first_stranger(numbers: Sequence[Any]) -> str:
    return next(told(number) for number in numbers if type(number) not in NUMBERS)


def in_two_steps(
    fast: Callable[[Sequence[bytes]], tuple[Rows, I64]],
    slow: Callable[[Sequence[bytes]], Decoded],
    payloads: Sequence[bytes],
) -> Decoded:
    """Decode what is as expected at once, and the rest with its reasons.

    fast: returns the rows of what it can decode, and the places of the rest. slow: is given the rest.
    """
    rows, left = fast(payloads)
    if not len(left):
        return rows, []
    others, wrong = slow([payloads[at] for at in left.tolist()])
    return _filled(rows, others, left), [(int(left[at]), error) for at, error in wrong]


def one_by_one(decode: Callable[[bytes], Rows], payloads: Sequence[bytes], channels: int) -> Decoded:
    """Decode each payload by itself."""
    parts: list[Rows] = []
    bad: list[tuple[int, BadMessage]] = []
    for index, payload in enumerate(payloads):
        try:
            parts.append(decode(payload))
        except BadMessage as error:
            bad.append((index, BadMessage(error.reason, error.detail)))  # without the frames that raised it
            parts.append(nothing(channels))
    return joined(parts, channels), bad


def sift(
    bulk: Callable[[Sequence[bytes]], Rows], decode: Callable[[bytes], Rows], payloads: Sequence[bytes], channels: int
) -> Decoded:
    """Decode in bulk; where that fails, halve until the odd ones stand alone, so that one bad sensor costs little.

    bulk: returns what `decode` would for each payload, or raises BadMessage if it cannot.
    """
    parts: list[Rows] = []
    bad: list[tuple[int, BadMessage]] = []
    waiting, patience = pieces(payloads)[::-1], VAIN * len(payloads)
    while waiting:
        start, stop = waiting.pop()
        try:
            parts.append(bulk(payloads[start:stop]))
            continue
        except BadMessage:
            patience -= stop - start
        if stop - start > FEW and patience > 0:
            middle = (start + stop) // 2
            waiting += [(middle, stop), (start, middle)]
            continue
        rows, wrong = one_by_one(decode, payloads[start:stop], channels)
        parts.append(rows)
        bad += [(start + at, error) for at, error in wrong]
    return joined(parts, channels), bad


def pieces(payloads: Sequence[bytes]) -> list[tuple[int, int]]:
    """Return (start, stop) of runs of about BULK_BYTES."""
    n = len(payloads)
    if sum(map(len, payloads)) <= BULK_BYTES:
        return [(0, n)] if n else []
    ends = np.cumsum(np.fromiter(map(len, payloads), np.int64, n)) // BULK_BYTES
    return list(pairwise([0, *(np.flatnonzero(np.diff(ends)) + 1).tolist(), n]))


def nothing(channels: int) -> Rows:
    """Return what a refused message leaves: no rows."""
    return Rows(np.zeros(1, np.int32), np.empty(0), np.empty((0, channels), np.float32))


def joined(parts: Sequence[Rows], channels: int) -> Rows:
    """Return several Rows as one."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Rows(np.empty(0, np.int32), np.empty(0), np.empty((0, channels), np.float32))
    return Rows(
        np.concatenate([part.count for part in parts]),
        np.concatenate([part.t for part in parts]),
        np.concatenate([part.values for part in parts]),
    )


def _filled(rows: Rows, others: Rows, places: I64) -> Rows:
    """Return rows with those of the messages at `places`, which had none, put in."""
    count = rows.count.copy()
    count[places] = others.count
    n = np.arange(len(count))
    order = np.argsort(np.r_[np.repeat(n, rows.count), np.repeat(places, others.count)], kind="stable")
    return Rows(count, np.r_[rows.t, others.t][order], np.r_[rows.values, others.values][order])
