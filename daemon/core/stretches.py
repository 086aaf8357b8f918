"""Stretches of rows: first .. first + length - 1, many at once. Where all have one length they are copied whole."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.core.records import I64

Rows = NDArray[Any]

#: Rows of one length below which looking at that length by itself costs more than copying row by row.
SHORT = 4096


def view(rows: Rows, length: int) -> Rows:
    """Return all stretches of `length` of contiguous rows (N, ...) as a view (N - length + 1, length, ...)."""
    shape = (max(len(rows) - length + 1, 0), length, *rows.shape[1:])
    # as_strided takes ten times as long
    return np.ndarray(shape, rows.dtype, rows, strides=(rows.strides[0], *rows.strides))


def spread(first: I64, length: I64) -> I64:
    """Return the rows of every stretch, one after the other."""
    ends = np.cumsum(length)
    places: I64 = np.arange(int(ends[-1])) + np.repeat(first - ends + length, length)
    return places


def take(rows: Rows, first: I64, length: I64) -> Rows:
    """Return a copy of the stretches of (N, ...), one after the other; there is one at least."""
    n = int(length[0])
    if np.count_nonzero(length != n):
        taken = np.empty((int(length.sum()), *rows.shape[1:]), rows.dtype)
        copy(rows, first, taken, np.cumsum(length) - length, length)
        return taken
    return rows[first] if n == 1 else view(rows, n)[first].reshape(-1, *rows.shape[1:])


def copy(rows: Rows, first: I64, target: Rows, begin: I64, length: I64) -> None:
    """Copy stretches of rows (N, ...) to where they begin in `target`; there is one at least."""
    n = int(length[0])
    if not np.count_nonzero(length != n):
        _copy(rows, first, target, begin, n)
        return
    lengths = np.unique(length)
    if length.sum() < SHORT * len(lengths):
        target[spread(begin, length)] = rows[spread(first, length)]
        return
    for n in lengths.tolist():
        these = length == n
        _copy(rows, first[these], target, begin[these], n)


def _copy(rows: Rows, first: I64, target: Rows, begin: I64, n: int) -> None:
    if n == 1:
        target[begin] = rows[first]
    elif n:
        view(target, n)[begin] = view(rows, n)[first]
