"""Raw score -> calibrated score: a threshold per sensor that keeps a declared false-alarm budget.

Overlapping windows make neighbouring scores almost copies of each other, so the evidence is not the score but the
largest score of each block, one block being one window long. `levels` predicts the next block's maximum; here scores
are compared with that, alarms start and end, and blocks are filled. docs/calibration.md tells what is promised,
measured and weak.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from daemon.core.levels import Levels, Slots
from daemon.core.records import (
    ALARM,
    CLEARED,
    F32,
    F64,
    I8,
    I32,
    LATCHED,
    LATCHED_NOW,
    NORMAL,
    RAISED,
    REGIME_CHANGED,
    Bool,
    Verdicts,
)

MAX_P = 0.3  # chance that a normal block starts an alarm: beyond this there is no tail to speak of
REBASE_WINDOWS = 2  # abnormal for so many windows is the new normal
FLOOR_SHARE, FLOOR_MIN = 0.1, 1e-6  # scores well below the usual ones are noise
_LARGEST = np.finfo(np.float32).max
_INFINITY_BITS = np.uint32(0x7F800000)


class Calibration:
    """Thresholds of `capacity` sensors of one stream; 123 bytes each, committed by the system as sensors appear.

    A sensor must be reset() before its first score. All sensors share floor, budget and warm start; all else is their
    own. `window`, `hop` in points; `budget_per_point`: alarm onsets per point and sensor. `segments`: raw scores of
    normal rows, oldest first, one every `segments_hop` points; segments never join. `noise_floor`: raw scores this
    small mean nothing.
    """

    def __init__(
        self,
        capacity: int,
        *,
        window: int,
        hop: int,
        budget_per_point: float,
        segments: Sequence[Sequence[float]] = (),
        segments_hop: int = 1,
        noise_floor: float = 0.0,
    ) -> None:
        self.window, self.hop = window, hop
        self.block = max(1, window // hop)  # scores per block: L
        self._latch_after = self.block
        self._rebase_after = max(1, REBASE_WINDOWS * window // hop)
        known = [np.asarray(segment, np.float64) for segment in segments]
        known = [np.clip(segment[~np.isnan(segment)], 0.0, _LARGEST) for segment in known]
        pooled = np.concatenate([*known, np.zeros(0)])
        usual = float(np.quantile(pooled, 0.99)) if len(pooled) else 0.0
        # c; as float64 so that scores become float64 with it
        self.floor = np.float64(max(FLOOR_SHARE * usual, noise_floor, FLOOR_MIN))
        # maxima of whole blocks, at our hop or as near to it as the segments were sampled
        stride = max(1, hop // segments_hop)
        rows = max(1, window // (stride * segments_hop))
        tops = [
            np.log(scores[: len(scores) // rows * rows].reshape(-1, rows).max(axis=1) + self.floor)
            for scores in (segment[::stride] for segment in known)
        ]
        self.onsets_total = 0  # as the budget counts them: those closer than a window are one
        self.regime_changes_total = 0
        self.points_total = 0  # points whose scores were judged: scores x hop
        self._on = 0  # sensors now in alarm
        self._top: F32 = np.zeros(capacity, np.float32)  # largest raw score of the running block
        self._filled: I32 = np.zeros(capacity, np.int32)  # scores in the running block
        self._state: I8 = np.zeros(capacity, np.int8)
        self._on_for: I32 = np.zeros(capacity, np.int32)  # scores since the onset
        self._last_onset: I32 = np.zeros(capacity, np.int32)  # in scores of the sensor
        self._hit: Bool = np.zeros(capacity, np.bool_)  # the running block saw an alarm
        self._hit_before: Bool = np.zeros(capacity, np.bool_)  # the block before it did
        self.budget_per_point = budget_per_point
        self._levels = Levels(capacity, self.p, np.concatenate([*tops, np.zeros(0)]).tolist())

    @property
    def p(self) -> float:
        """Chance that a normal block starts an alarm."""
        return min(self.budget_per_point * self.block * self.hop, MAX_P)

    @property
    def blocks(self) -> I32:
        """Blocks of its own that each slot has learnt from."""
        return self._levels.blocks

    def set_budget(self, budget_per_point: float) -> None:
        """Change the budget of every sensor; what was learnt stays, the thresholds follow at once."""
        self.budget_per_point = budget_per_point
        self._levels.set_p(self.p)

    def reset(self, slots: I32) -> None:
        """Put newcomers, or evicted sensors, at the warm start: normal, nothing seen of their own."""
        at = np.unique(slots).astype(np.intp)
        self._on -= int(np.count_nonzero(self._state[at]))
        self._state[at] = NORMAL
        self._on_for[at] = 0
        self._last_onset[at] = -self.block
        self._hit_before[at] = self._hit[at] = False
        self.restart(slots)
        self._levels.reset(at)

    def restart(self, slots: I32) -> None:
        """Drop these sensors' running block: after a gap its scores and the next ones are no neighbours."""
        at = slots.astype(np.intp)
        self._hit_before[at] |= self._hit[at]
        self._hit[at] = False
        self._top[at] = -np.inf
        self._filled[at] = 0

    def update(self, slots: I32, raw: F32) -> Verdicts:
        """Judge N raw scores, then learn from them.

        slots: (N,) int32, any order, repeats allowed: rows of one slot are in time order. raw: (N,) float32, any value:
        below 0 counts as 0, infinity as the largest float32; where it is NaN the score is NaN and nothing changes.
        A score above 1.0 raises; while a sensor has no threshold its scores are NaN.
        """
        if np.count_nonzero(raw.view(np.uint32) >= _INFINITY_BITS):  # negative, infinite or NaN: all have high bits
            raw = np.minimum(np.maximum(raw, np.float32(0)), _LARGEST)
            missing = np.isnan(raw)
            if missing.any():
                return self._update_known(slots, raw, missing)
        self.points_total += len(slots) * self.hop
        if np.count_nonzero(slots[1:] <= slots[:-1]):
            return self._update_runs(slots.astype(np.intp), raw)
        neighbours = len(slots) and slots[-1] - slots[0] == len(slots) - 1
        at = slice(int(slots[0]), int(slots[-1]) + 1) if neighbours else slots.astype(np.intp)
        score = self._levels.gain[at] * (raw + self.floor)
        return Verdicts(score, *self._settle(at, score, raw, raw, 1))

    def threshold(self, slots: I32) -> F64:
        """Return the raw score above which each sensor alarms; infinite while it has no threshold."""
        gain = self._levels.gain[slots]
        with np.errstate(divide="ignore"):
            return np.where(np.isnan(gain), np.inf, 1 / gain - self.floor)

    def warming(self, slots: I32) -> Bool:
        """Return which sensors have no threshold yet."""
        warming: Bool = np.isnan(self._levels.gain[slots])
        return warming

    def _update_known(self, slots: I32, raw: F32, missing: Bool) -> Verdicts:
        """Update the rows that are no NaN; the others report the state their sensor is in."""
        known = np.flatnonzero(~missing)
        before = self._state[slots]
        inner = self.update(slots[known], raw[known])
        score = np.full(len(slots), np.nan)
        state, change = np.zeros((2, len(slots)), np.int8)
        score[known], state[known], change[known] = inner.score, inner.state, inner.change
        order = np.argsort(slots, kind="stable")
        sensor = slots[order]
        last = np.maximum.accumulate(np.where(missing[order], -1, np.arange(len(order))))
        carried = (last >= 0) & (sensor[last] == sensor)
        state[order] = np.where(carried, state[order][last], before[order])
        return Verdicts(score, state, change)

    def _update_runs(self, at: NDArray[np.intp], raw: F32) -> Verdicts:
        """Update rows in any order, sensors repeated, a stretch of each sensor at a time.

        A stretch ends with the running block, at the first score that raises, and is one row while an alarm is on: all
        rows before its last one are normal, so the last decides alone.
        """
        order = np.argsort(at, kind="stable")
        sensor, raw = at[order], raw[order]
        begin = np.flatnonzero(np.r_[True, sensor[1:] != sensor[:-1]])
        end = np.r_[begin[1:], len(sensor)]
        who = sensor[begin]
        score = np.empty(len(sensor))
        state, change = np.zeros((2, len(sensor)), np.int8)
        while len(who):
            take = np.where(self._state[who] > 0, 1, np.minimum(end - begin, self.block - self._filled[who]))
            rows = _spread(begin, take)
            now = np.repeat(self._levels.gain[who], take) * (raw[rows] + self.floor)
            loud = rows[now > 1.0]
            if len(loud):
                stretch = np.searchsorted(begin, loud, side="right") - 1
                stretch, first = np.unique(stretch, return_index=True)
                take[stretch] = loud[first] - begin[stretch] + 1
                rows = _spread(begin, take)
                now = np.repeat(self._levels.gain[who], take) * (raw[rows] + self.floor)
            score[rows] = now
            last = np.cumsum(take) - 1
            top = np.maximum.reduceat(raw[rows], last - take + 1)
            state[rows[last]], change[rows[last]] = self._settle(who, now[last], raw[rows[last]], top, take)
            begin += take
            left = begin < end
            who, begin, end = who[left], begin[left], end[left]
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return Verdicts(score[back], state[back], change[back])

    def _settle(self, at: Slots, score: F64, raw: F32, top: F32, take: NDArray[np.intp] | int) -> tuple[I8, I8]:
        """Advance distinct sensors by `take` scores, the last of which is `raw` and the largest `top`."""
        filled = self._filled[at] + take
        self._filled[at] = filled
        above = score > 1.0
        if self._on or np.count_nonzero(above):
            state, change = self._judge(at, above, raw)
        else:
            state, change = np.zeros(len(raw), np.int8), np.zeros(len(raw), np.int8)
        self._top[at] = np.maximum(self._top[at], top)
        full = filled >= self.block
        ended = np.count_nonzero(full)
        if ended:
            self._close(at if ended == len(full) else _pick(at, np.flatnonzero(full)))
        return state, change

    def _judge(self, at: Slots, above: Bool, raw: F32) -> tuple[I8, I8]:
        """Raise, latch, clear or accept as the new normal; distinct sensors, one score each."""
        state = self._state[at].copy()
        change = np.zeros(len(raw), np.int8)
        rows = np.flatnonzero(above | (state > 0))
        if not len(rows):
            return state, change
        who, old, value = _pick(at, rows), state[rows], raw[rows] + self.floor
        on = old > 0
        on_for = np.where(on, self._on_for[who] + 1, 0)
        off = on & (value < self._levels.release[who])
        rebase = on & ~off & (on_for >= self._rebase_after)
        latch = on & ~off & ~rebase & (on_for >= self._latch_after)
        new = np.where(off | rebase, NORMAL, np.where(latch, LATCHED, np.where(on, old, ALARM))).astype(np.int8)
        what = np.where(off, CLEARED, np.where(rebase, REGIME_CHANGED, np.where(on, 0, RAISED)))
        change[rows] = np.where(latch & (old != LATCHED), LATCHED_NOW, what)
        state[rows] = new
        self._state[who], self._on_for[who] = new, on_for
        self._hit[who] |= (new > 0) | rebase
        self._on += int(np.count_nonzero(new)) - int(np.count_nonzero(on))
        raised = who[~on]
        place = self._levels.blocks[raised] * self.block + self._filled[raised]
        self.onsets_total += int(np.count_nonzero(place - self._last_onset[raised] >= self.block))
        self._last_onset[raised] = place
        if rebase.any():
            moved = who[rebase]
            self.regime_changes_total += len(moved)
            self._levels.rebase(moved, np.log(np.maximum(self._top[moved] + self.floor, value[rebase])))
        return state, change

    def _close(self, at: Slots) -> None:
        """End the running block of distinct sensors and learn from its largest score."""
        self._levels.learn(at, np.log(self._top[at] + self.floor), ~self._hit_before[at])
        self._hit_before[at] = self._hit[at] | (self._state[at] > 0)
        self._hit[at] = False
        self._top[at] = -np.inf
        self._filled[at] = 0


def _pick(at: Slots, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    return rows + at.start if isinstance(at, slice) else at[rows]


def _spread(begin: NDArray[np.intp], take: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the rows begin .. begin + take - 1 of every stretch, one after the other."""
    ends = np.cumsum(take)
    rows: NDArray[np.intp] = np.arange(ends[-1]) + np.repeat(begin - ends + take, take)
    return rows
