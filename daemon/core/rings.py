"""The slab: the last rows of every sensor of a stream. A window is one contiguous slice of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daemon.core.records import F32, I32, I64, Bool
from daemon.core.stretches import copy, spread, view


@dataclass(frozen=True, slots=True)
class Runs:
    """Stretches of rows, at most one of each sensor, sorted by sensor: rows first .. first + length - 1.

    slot, first, length: (R,) int64. restart: (R,) the window starts anew with the stretch.
    """

    slot: I64
    first: I64
    length: I64
    restart: Bool

    def __len__(self) -> int:
        return len(self.slot)

    def part(self, runs: Bool) -> Runs:
        """Return the runs that the mask selects."""
        return Runs(self.slot[runs], self.first[runs], self.length[runs], self.restart[runs])


@dataclass(frozen=True, slots=True)
class Due:
    """Windows that are due. row: (N,) which pushed row ends the window; sensor: (N,) its slot; at: (N,) where it lies
    among `windows`, (M, W, C), every window of the memory that the rows went into."""

    row: I64
    sensor: I32
    at: I64
    windows: F32

    def __len__(self) -> int:
        return len(self.row)

    def gather(self, part: slice) -> F32:
        """Return a copy (N, W, C) of some of the windows; to be called before rows are pushed again."""
        return self.windows[self.at[part]]


class Rings:
    """Rings for `capacity` sensors, each of `window` + slack rows of `channels` float32.

    Memory is committed by the system as sensors appear: capacity x rows x channels x 4 bytes at most. A window is
    due at the first measured row at which the rows since the last restart reach window + k x hop, for each k.
    Rows are compacted when the slack is full: a quarter of the window keeps the slab at 1.25 windows, and costs
    four copied rows per new one.
    """

    def __init__(self, capacity: int, window: int, channels: int, hop: int) -> None:
        self.window, self.channels, self.hop = window, channels, hop
        self.slack = max(16, window // 4)
        self.rows = window + self.slack
        self.slab: F32 = np.zeros((capacity, self.rows, channels), np.float32)
        self._flat = self.slab.reshape(capacity * self.rows, channels)
        self._windows: F32 = view(self._flat, window)
        self._head: I64 = np.zeros(capacity, np.int64)  # rows in use; the newest is head - 1
        self.count: I64 = np.zeros(capacity, np.int64)  # rows since the last restart
        self._mark: I64 = np.zeros(capacity, np.int64)  # hops completed at the last measured row, from 1

    def reset(self, slots: I32) -> None:
        """Empty these sensors' rings."""
        self._head[slots] = self.count[slots] = self._mark[slots] = 0

    def passes(self, sensor: I32, restart: Bool) -> list[Runs]:
        """Return rows sorted by sensor as runs, in the order in which they are to be pushed.

        There is one pass, and one more for each restart that is not a sensor's first row: what was learnt of the
        windows before it must be settled by then.
        """
        n = len(sensor)
        if not n:
            return []
        opens = np.empty(n, np.bool_)
        opens[0] = True
        np.not_equal(sensor[1:], sensor[:-1], out=opens[1:])
        again = bool(restart.any())
        first = np.flatnonzero(opens | restart if again else opens)
        length = np.empty_like(first)
        np.subtract(first[1:], first[:-1], out=length[:-1])
        length[-1] = n - first[-1]
        runs = Runs(sensor[first].astype(np.int64), first, length, restart[first])
        if not again:
            return [runs]
        place = np.arange(len(first))
        number = place - np.maximum.accumulate(np.where(opens[first], place, 0))  # of the run, within its sensor
        return [runs.part(number == turn) for turn in range(int(number.max()) + 1)]

    def push(self, runs: Runs, values: F32, real: Bool) -> list[Due]:
        """Append runs of rows and return the windows that became due.

        values: (N, C), contiguous, and real: (N,), measured and not filled, of all rows that the runs are of. The
        windows stay in place until the next push. A run with more rows than the slack goes through memory of its own.
        """
        long = runs.length > self.slack
        found = np.count_nonzero(long)
        if not found:
            return [self._push_short(runs, values, real)]
        if found == len(runs):
            return [self._push_long(runs, values, real)]
        return [self._push_short(runs.part(~long), values, real), self._push_long(runs.part(long), values, real)]

    def _push_short(self, runs: Runs, values: F32, real: Bool) -> Due:
        """Append to the rings; each run has room once its ring is compacted."""
        slot = runs.slot
        self._make_room(slot, runs.length)
        head = self._head[slot]
        begin = slot * self.rows + head
        copy(values, runs.first, self._flat, begin, runs.length)
        self._head[slot] = head + runs.length
        row, run = self._due(runs, real)
        at = begin[run] + (row - runs.first[run]) + (1 - self.window)
        return Due(row, slot[run].astype(np.int32), at, self._windows)

    def _push_long(self, runs: Runs, values: F32, real: Bool) -> Due:
        """Lay each sensor's last rows and its new ones side by side; the newest of them become its ring."""
        slot, head = runs.slot, self._head[runs.slot]
        kept = np.minimum(head, self.window)
        length = kept + runs.length
        begin = np.cumsum(length) - length
        flat = np.empty((int(length.sum()), self.channels), np.float32)
        copy(self._flat, slot * self.rows + head - kept, flat, begin, kept)
        copy(values, runs.first, flat, begin + kept, runs.length)
        tail = np.minimum(length, self.window)
        copy(flat, begin + length - tail, self._flat, slot * self.rows, tail)
        self._head[slot] = tail
        row, run = self._due(runs, real)
        at = (begin + kept)[run] + (row - runs.first[run]) + (1 - self.window)
        return Due(row, slot[run].astype(np.int32), at, view(flat, self.window))

    def _due(self, runs: Runs, real: Bool) -> tuple[I64, I64]:
        """Count the runs' rows; return which of them end a window that is due, and the run of each."""
        slot, window, hop = runs.slot, self.window, self.hop
        before, mark = self.count[slot], self._mark[slot]
        if runs.restart.any():
            before[runs.restart] = mark[runs.restart] = 0
            self._mark[slot] = mark
        count = before + runs.length
        self.count[slot] = count
        if not real.all():
            return self._due_between(runs, real, before, mark)
        # the next window is due at window + mark x hop rows; earlier where filled rows went past that
        least = np.maximum(window + mark * hop, before + 1)
        run = np.flatnonzero(least <= count)
        if not len(run):
            return run, run
        due, count = least[run], count[run]
        self._mark[slot[run]] = (count - window) // hop + 1
        row = due - before[run] + runs.first[run] - 1
        following = window + ((due - window) // hop + 1) * hop
        if not np.count_nonzero(count >= following):
            return row, run
        times = np.maximum((count - following) // hop + 2, 1)
        ends = np.cumsum(times)
        turn = np.arange(int(ends[-1])) - np.repeat(ends - times, times)
        later = np.repeat(row + following - due - hop, times) + turn * hop
        return np.where(turn == 0, np.repeat(row, times), later), np.repeat(run, times)

    def _due_between(self, runs: Runs, real: Bool, before: I64, mark: I64) -> tuple[I64, I64]:
        """Return what `_due` does where some rows are filled: a window never ends at one of those."""
        row = spread(runs.first, runs.length)
        run = np.repeat(np.arange(len(runs)), runs.length)
        known = np.flatnonzero(real[row])
        row, run = row[known], run[known]
        if not len(row):  # filled rows alone: the measured one they lead to comes with the next push
            return row, run
        counts = before[run] + row - runs.first[run] + 1
        hops = np.where(counts < self.window, 0, (counts - self.window) // self.hop + 1)
        opens = np.r_[True, run[1:] != run[:-1]]
        earlier = np.empty_like(hops)
        earlier[1:] = hops[:-1]
        earlier[opens] = mark[run[opens]]
        closes = np.r_[opens[1:], True]
        self._mark[runs.slot[run[closes]]] = hops[closes]
        new = hops > earlier
        return row[new], run[new]

    def _make_room(self, slot: I64, length: I64) -> None:
        """Move the newest `window` rows to the front of each ring that has no room for its run."""
        full = self._head[slot] + length > self.rows
        if full.any():
            slot = slot[full]
            self.slab[slot, : self.window] = self._windows[slot * self.rows + self._head[slot] - self.window]
            self._head[slot] = self.window
