"""One stream's stages composed: feed samples, take full windows, settle their scores. No I/O, no thread, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from daemon.core.alarms import Alarms
from daemon.core.calibration import Calibration
from daemon.core.card import Card
from daemon.core.grid import Grid, Placed
from daemon.core.records import F64, I8, I32, Alarm, Bool, Outputs, Samples, Scored, SensorState, Windows
from daemon.core.rings import Due, Rings, Runs
from daemon.core.roster import Roster

#: Alarm onsets per point where the operator declares no budget.
DEFAULT_BUDGET_PER_POINT = 2e-4

#: Sensors that one tick calls stale, or forgets; the others' turn comes with the next. Where a whole plant falls silent
#: each sensor's alarm is an object and a message of its own.
MOST_SILENT = 2000

FREE, FILLING, CALIBRATING, LIVE, STALE = 0, 1, 2, 3, 4
STATES = {FILLING: "warming", CALIBRATING: "warming", LIVE: "live", STALE: "stale"}


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What a stream's pipeline is built from, all decided."""

    name: str
    capacity: int
    hop: int
    timed: bool = True
    interval_s: float | None = None
    fill: str = "hold"
    limit_s: float = 0.0
    budget_per_point: float | None = None
    budget_per_day: float | None = None
    stale_after_s: float | None = None
    forget_after_s: float = 7 * 86400.0
    cool_down_s: float = 0.0
    stale_alarm: bool = True

    def budget(self, measured_s: float | None = None) -> float:
        """Return the declared alarm onsets per point, the unit the calibration works in.

        A budget per day needs an interval, the stream's own or the measured one; while neither is known, and where
        nothing is declared, the default stands.
        """
        interval_s = self.interval_s or measured_s
        if self.budget_per_point is not None:
            return self.budget_per_point
        if self.budget_per_day is None or not interval_s:
            return DEFAULT_BUDGET_PER_POINT
        return min(self.budget_per_day * interval_s / 86400.0, 0.1)

    def silence_s(self, measured_s: float | None) -> float:
        """Return after how many silent seconds a sensor is stale."""
        return self.stale_after_s or max(60.0, 10.0 * (self.interval_s or measured_s or 0.0))


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of a batch: its scores and the alarm events they caused."""

    scored: Scored
    change: I8  # (N,) what just happened to the sensor's alarm; NO_CHANGE mostly
    alarms: list[Alarm] = field(default_factory=list)


class Pipeline:
    """All sensors of a stream, from samples to alarms.

    `now` is any clock that goes forward, in seconds, always passed in; it decides only when silence is stale and
    when a sensor is forgotten. Scores depend on the samples alone.
    """

    def __init__(self, plan: StreamPlan, card: Card) -> None:
        self.plan, self.card = plan, card
        capacity, channels = plan.capacity, len(card.channels)
        self.roster = Roster(capacity)
        self.grid = Grid(
            capacity,
            channels,
            card.window,
            timed=plan.timed,
            interval_s=plan.interval_s,
            fill=plan.fill,
            limit_s=plan.limit_s,
        )
        self.rings = Rings(capacity, card.window, channels, plan.hop)
        self.calibration = Calibration(
            capacity,
            window=card.window,
            hop=plan.hop,
            budget_per_point=plan.budget(),
            segments=card.calibration.segments,
            segments_hop=card.calibration.hop,
            noise_floor=card.calibration.noise_floor,
        )
        self.alarms = Alarms(
            capacity,
            stream=plan.name,
            model=card.name,
            classes=card.classes,
            normal_class=card.normal_class,
            channels=card.channels,
            window=card.window,
            cool_down_s=plan.cool_down_s,
            stale=plan.stale_alarm,
        )
        self.state: I8 = np.zeros(capacity, np.int8)
        self.seen: F64 = np.zeros(capacity)  # `now` of the last accepted sample
        self.last_score: F64 = np.zeros(capacity)
        self.restarts = 0
        self.forgotten = 0
        self._newcomers: list[int] = []
        self._events: list[Alarm] = []
        self._told: I8 = np.zeros(capacity, np.int8)  # the state that `changes` returned last
        self._untold = False  # whether there may be another one
        self._all_live = False  # certainly; False says nothing
        self._gone: deque[str] = deque()  # forgotten sensors that `changes` has not returned
        self._placed: Placed | None = None  # the rows of the last feed, while windows of theirs may be due
        self._waiting: list[Runs] = []
        self._due: list[Due] = []
        self._measured = False

    @property
    def names(self) -> Sequence[str]:
        """Sensor names by slot."""
        return self.roster.names

    @property
    def stored(self) -> bool:
        """Whether every row fed so far is in its ring."""
        return not self._waiting

    def admit(self, sensor: str) -> int:
        """Return the sensor's slot, a fresh one for a newcomer; -1 where `capacity` sensors are known already."""
        slot = self.roster.slot(sensor)
        if slot < 0:
            slot = self.roster.admit(sensor)
            if slot >= 0:
                self._newcomers.append(slot)
        return slot

    def feed(self, samples: Samples, now: float, latest: float = np.inf) -> None:
        """Put samples into their rings. Take the windows before feeding again.

        latest: stamps beyond it are dropped as "future".
        """
        self._welcome(now)
        placed = self.grid.place(samples, latest)
        if not len(placed):
            return
        passes = self.rings.passes(placed.sensor, placed.restart)
        slots = passes[0].slot
        self.seen[slots] = now
        self._back_from_silence(slots[self.state[slots] == STALE])
        if self.grid.measured_s is not None and not self._measured:
            self._learn_interval(self.grid.measured_s)
        self._placed, self._waiting = placed, passes
        self._push()

    def take(self, most: int) -> Iterator[Windows]:
        """Yield the windows that are due, at most `most` at a time; the rows that wait go into the rings between."""
        while self._due or self._waiting:
            placed = self._placed
            assert placed is not None
            for due in self._due:
                every = len(due) == len(placed)  # each row ends a window: then their times need no picking
                t, arrived = (placed.t, placed.arrived) if every else (placed.t[due.row], placed.arrived[due.row])
                for at in range(0, len(due), most):
                    part = slice(at, at + most)
                    yield Windows(due.sensor[part], t[part], arrived[part], due.gather(part))
            self._due = []
            self._push()

    def settle(self, windows: Windows, outputs: Outputs) -> Settled:
        """Calibrate a batch's scores and let the alarms live on."""
        sensor = windows.sensor
        verdicts = self.calibration.update(sensor, outputs.score)
        events = self.alarms.step(sensor, windows.t, verdicts, outputs.score, outputs, self.names)
        self.last_score[sensor] = verdicts.score
        if not self._all_live:
            self._scored(sensor, np.isfinite(verdicts.score))
        if outputs.class_probability is None:
            label = np.full(len(sensor), -1, np.int32)
        else:
            label = outputs.class_probability.argmax(axis=1).astype(np.int32)
        return Settled(
            Scored(sensor, windows.t, windows.arrived, outputs.score, verdicts.score, verdicts.state, label),
            verdicts.change,
            events,
        )

    def tick(self, now: float) -> None:
        """Look for sensors that fell silent or are to be forgotten. Call between drains, about once a second."""
        used = len(self.roster.names)
        silent_s = now - self.seen[:used]
        state = self.state[:used]
        quiet = np.flatnonzero((silent_s > self.silence_s) & (state != STALE) & (state != FREE)).astype(np.int32)
        quiet = quiet[:MOST_SILENT]
        if len(quiet):
            was_live = quiet[state[quiet] == LIVE]
            self._events += self.alarms.stale(was_live, self.grid.watermark[was_live] + silent_s[was_live], self.names)
            self._now_in(quiet, STALE)
        gone = np.flatnonzero((silent_s > self.plan.forget_after_s) & (state != FREE)).astype(np.int32)[:MOST_SILENT]
        if len(gone):
            self._forget(gone, self.grid.watermark[gone] + silent_s[gone])

    def close(self) -> list[Alarm]:
        """End the open alarms, because nobody watches from here on; each sensor's last time is their end."""
        slots = self.roster.occupied()
        return self.alarms.forget(slots, self.grid.watermark[slots], self.names, "stopped")

    def events(self) -> list[Alarm]:
        """Return, once, the alarm events that no score caused: stale, data is back, forgotten."""
        events, self._events = self._events, []
        return events

    def changes(self, most: int = 2**31) -> list[SensorState]:
        """Return the sensors whose state is not the one that was last returned, `most` of them; ask again for the rest.

        What a sensor was in between is left out: a million newcomers, or a broker that is gone for a day, cost a byte
        per sensor.
        """
        gone = [self._gone.popleft() for _ in range(min(most, len(self._gone)))]
        reason = "silent for longer than forget_after_s"
        changes = [SensorState(self.plan.name, name, "forgotten", reason) for name in gone]
        if self._untold and len(changes) < most:
            used = len(self.names)
            slots = np.flatnonzero(self.state[:used] != self._told[:used])
            self._untold = len(slots) > most - len(changes)
            slots = slots[: most - len(changes)]
            self._told[slots] = self.state[slots]
            changes += map(self.describe, slots.tolist())
        return changes

    @property
    def silence_s(self) -> float:
        """After how many silent seconds a sensor is stale."""
        return self.plan.silence_s(self.grid.measured_s)

    def describe(self, slot: int) -> SensorState:
        """Return where a sensor stands now and why."""
        state, have = int(self.state[slot]), min(int(self.rings.count[slot]), self.card.window)
        reason = {
            FILLING: f"the window has {have} of {self.card.window} rows",
            CALIBRATING: "the window is full, the threshold is still being learnt",
            LIVE: "scored",
            STALE: f"no sample for more than {self.silence_s:g} s",
        }[state]
        filling = state == FILLING
        return SensorState(
            self.plan.name,
            self.names[slot],
            STATES[state],
            reason,
            have if filling else None,
            self.card.window if filling else None,
        )

    def _welcome(self, now: float) -> None:
        """Make the newcomers' slots fresh, all at once."""
        if not self._newcomers:
            return
        slots = np.array(self._newcomers, np.int32)
        self._newcomers = []
        self.grid.reset(slots)
        self.rings.reset(slots)
        self.calibration.reset(slots)
        self.last_score[slots] = np.nan
        self.seen[slots] = now
        self._now_in(slots, FILLING)

    def _push(self) -> None:
        if self._waiting:
            assert self._placed is not None
            runs = self._waiting.pop(0)
            if runs.restart.any():
                self._restart(runs.slot[runs.restart].astype(np.int32))
            self._due = self.rings.push(runs, self._placed.values, self._placed.real)
        else:
            self._placed = None

    def _scored(self, sensor: I32, known: Bool) -> None:
        """Note which sensors have a threshold now; what was live before stays so."""
        if np.count_nonzero(self.state[sensor] != LIVE):
            self._now_in(sensor[known], LIVE)
            filling = sensor[~known]
            self._now_in(filling[self.state[filling] == FILLING], CALIBRATING)
        state = self.state[: len(self.names)]
        self._all_live = np.count_nonzero(state == LIVE) + np.count_nonzero(state == FREE) == len(state)

    def _restart(self, slots: I32) -> None:
        self.restarts += len(slots)
        self.calibration.restart(slots)
        self._now_in(slots[self.state[slots] != FILLING], FILLING)

    def _back_from_silence(self, slots: I32) -> None:
        if len(slots):
            self._events += self.alarms.fresh(slots, self.grid.watermark[slots], self.names)
            self._now_in(slots, FILLING)

    def _learn_interval(self, measured_s: float) -> None:
        self._measured = True
        if self.plan.budget(measured_s) != self.plan.budget():
            self.calibration.set_budget(self.plan.budget(measured_s))

    def _forget(self, slots: I32, t: F64) -> None:
        self._events += self.alarms.forget(slots, t, self.names)
        self._gone.extend(self.names[slot] for slot in slots.tolist())
        self.state[slots] = self._told[slots] = FREE
        self.forgotten += len(slots)
        self.roster.evict(slots.tolist())

    def _now_in(self, slots: I32, state: int) -> None:
        """Note the sensors' state."""
        if len(slots):
            self.state[slots] = state
            self._untold, self._all_live = True, False
