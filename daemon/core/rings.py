"""The slab: the last rows of every sensor of a stream. A window is one contiguous slice of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daemon.core.records import F32, I32, I64, Bool


@dataclass(frozen=True, slots=True)
class Due:
    """Windows that are due. row: (N,) which pushed row ends the window; sensor: (N,) its slot; end: (N,) the
    window's end in the sensor's ring (exclusive)."""

    row: I64
    sensor: I32
    end: I64

    def __len__(self) -> int:
        return len(self.row)


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
        step = self._flat.strides[0]
        self._windows = np.lib.stride_tricks.as_strided(
            self._flat,
            (capacity * self.rows - window + 1, window, channels),
            (step, step, self._flat.strides[1]),
            writeable=False,
        )
        self._head: I64 = np.zeros(capacity, np.int64)  # rows in use; the newest is head - 1
        self.count: I64 = np.zeros(capacity, np.int64)  # rows since the last restart
        self._mark: I64 = np.zeros(capacity, np.int64)  # hops completed at the last measured row, from 1

    def reset(self, slots: I32) -> None:
        """Empty these sensors' rings."""
        self._head[slots] = self.count[slots] = self._mark[slots] = 0

    def passes(self, sensor: I32, restart: Bool) -> I64:
        """Return, for rows sorted by sensor, in which push each can go.

        A push takes at most `slack` rows of a sensor, and a restart only as its first row: what was learnt of the
        windows before it must be settled by then.
        """
        index = np.arange(len(sensor))
        opens = np.r_[True, sensor[1:] != sensor[:-1]][: len(sensor)]
        anchor = np.maximum.accumulate(np.where(opens | restart, index, 0))
        number = np.cumsum((index - anchor) % self.slack == 0)
        first: I64 = number[np.maximum.accumulate(np.where(opens, index, 0))]
        return number - first

    def push(self, sensor: I32, values: F32, real: Bool, restart: Bool) -> Due:
        """Append rows, at most `slack` for one sensor, and return the windows that became due.

        sensor: (N,) int32 sorted, time order for each; values: (N, C); real: (N,) measured, not filled;
        restart: (N,) the window starts anew with this row. The windows stay in place until the next push.
        """
        n = len(sensor)
        if not n:
            return Due(np.zeros(0, np.int64), sensor, np.zeros(0, np.int64))
        index = np.arange(n)
        opens = np.r_[True, sensor[1:] != sensor[:-1]]
        first = np.flatnonzero(opens)
        runs = np.diff(np.r_[first, n])
        slots = sensor[first]
        self._make_room(slots, runs)
        end = np.repeat(self._head[slots] - first, runs) + index + 1
        self._flat[sensor.astype(np.int64) * self.rows + end - 1] = values
        last = first + runs - 1
        self._head[slots] = end[last]

        anchor = np.maximum.accumulate(np.where(opens | restart, index, 0))
        count = index - anchor + 1 + np.where(restart[anchor], 0, self.count[sensor])
        self.count[slots] = count[last]
        # hops completed: 0 while the window fills, 1 when it is full, one more every hop rows
        mark = np.where(count < self.window, 0, (count - self.window) // self.hop + 1)
        known = np.flatnonzero(real)
        mark, known_sensor = mark[known], sensor[known]
        if not len(known):  # filled rows alone: the measured one they lead to comes with the next push
            return Due(known, known_sensor, known)
        opens = np.r_[True, known_sensor[1:] != known_sensor[:-1]]
        before = np.empty_like(mark)
        before[1:] = mark[:-1]
        before[opens] = self._mark[known_sensor[opens]]
        before[restart[known]] = 0
        due = known[mark > before]
        closes = np.r_[opens[1:], True]
        self._mark[known_sensor[closes]] = mark[closes]
        return Due(due, sensor[due], end[due])

    def gather(self, sensor: I32, end: I64) -> F32:
        """Return a copy (N, W, C) of the windows that end at `end` in these sensors' rings."""
        x: F32 = self._windows[sensor.astype(np.int64) * self.rows + end - self.window]
        return x

    def _make_room(self, slots: I32, runs: I64) -> None:
        """Move the newest `window` rows to the front of each ring that has no room for its run."""
        full = self._head[slots] + runs > self.rows
        if full.any():
            slots = slots[full].astype(np.int64)
            self.slab[slots, : self.window] = self.gather(slots.astype(np.int32), self._head[slots])
            self._head[slots] = self.window
