"""Alarms: identity and life cycle. The calibration alone decides on and off; here that becomes events.

An alarm is raised, updated and cleared under one id. Times are the samples' own (epoch seconds): no clock here, so
that a replay tells the same story as the live run.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2s

import numpy as np
from numpy.typing import NDArray

from daemon.core.findings import Findings, find
from daemon.core.records import (
    CLEARED,
    F32,
    F64,
    I8,
    I32,
    LATCHED_NOW,
    REGIME_CHANGED,
    Alarm,
    Bool,
    Outputs,
    Verdicts,
)

_NEVER, _CLOSED, _OPEN = 0, 1, 2  # of a sensor's score alarm; _CLOSED: there was one, `since` and `until` are known


class Alarms:
    """The alarms of `capacity` sensors of one stream; at most one is open per sensor.

    classes, normal_class, channels: the model's. cool_down_s: an onset this soon after the last clear
    continues the old alarm. stale: whether silence is an alarm. `names` are everywhere the sensors' names by slot.
    """

    def __init__(
        self,
        capacity: int,
        *,
        stream: str,
        model: str,
        classes: Sequence[str],
        normal_class: str | None,
        channels: Sequence[str],
        window: int,
        cool_down_s: float,
        stale: bool,
    ) -> None:
        self.stream, self.model, self.window = stream, model, window
        self.cool_down_s, self.wants_stale = cool_down_s, stale
        self._classes, self._channels = tuple(classes), tuple(channels)
        self._faults = [k for k, name in enumerate(classes) if name != normal_class]
        self.raised_total = {"score": 0, "stale": 0}  # alarms by reason; one continued after a cool-down is not new
        self._scores_open = self._stales_open = 0
        self._phase: I8 = np.zeros(capacity, np.int8)
        self._since: F64 = np.zeros(capacity)
        self._until: F64 = np.zeros(capacity)
        self._peak: F64 = np.zeros(capacity)
        self._told: F64 = np.zeros(capacity)  # the peak that was last published
        self._stale: Bool = np.zeros(capacity, np.bool_)
        self._stale_since: F64 = np.zeros(capacity)
        # what the model said at the peak, see Findings
        self._label: I32 = np.zeros(capacity, np.int32)
        self._confidence: F32 = np.zeros(capacity, np.float32)
        self._channel: I32 = np.zeros(capacity, np.int32)
        self._first: I32 = np.zeros(capacity, np.int32)
        self._last: I32 = np.zeros(capacity, np.int32)

    @property
    def active(self) -> int:
        """Alarms now open."""
        return self._scores_open + self._stales_open

    def step(
        self, sensor: I32, t: F64, verdicts: Verdicts, raw: F32, outputs: Outputs, names: Sequence[str]
    ) -> list[Alarm]:
        """Return the events of N judged windows, in their order.

        sensor: (N,) slots, rows of one sensor in time order; t: (N,) of each window's last sample; outputs: of the
        same N windows. An open alarm is updated when it latches and whenever its peak has doubled since it was last
        published. A sensor that is abnormal without an open alarm (it fell stale meanwhile) is raised.
        """
        if not self._scores_open and not np.count_nonzero(verdicts.state):
            return []
        abnormal = (verdicts.state > 0) & (verdicts.score == verdicts.score)
        unusual = (verdicts.change > 0) | (abnormal & (self._phase[sensor] != _OPEN))
        rows = unusual | (abnormal & (verdicts.score > self._peak[sensor]))
        if np.count_nonzero(unusual):
            rows |= abnormal & np.isin(sensor, sensor[unusual])  # its rows must be told one after the other
        at = np.flatnonzero(rows)
        if not len(at):
            return []
        found = find(outputs, at, self._faults, len(self._channels))
        slots, score = sensor[at], verdicts.score[at]
        # a higher peak and nothing to tell is the usual row of an open alarm; told one by one are only the others
        _, which, times = np.unique(slots, return_inverse=True, return_counts=True)
        steady = ~unusual[at] & (score < 2 * self._told[slots]) & (times[which] == 1)
        self._remember(slots[steady], score[steady], found, np.flatnonzero(steady))
        events: list[Alarm] = []
        for place in np.flatnonzero(~steady).tolist():
            slot, when, value = int(slots[place]), float(t[at[place]]), float(score[place])
            change = int(verdicts.change[at[place]])
            if self._phase[slot] == _OPEN:
                higher = value > self._peak[slot]
                if higher:
                    self._remember(slot, value, found, place)
                if change in (CLEARED, REGIME_CHANGED):
                    reason = "score" if change == CLEARED else "regime changed"
                    events.append(self._clear(slot, when, value, reason, names))
                elif change == LATCHED_NOW or (higher and value >= 2 * self._told[slot]):
                    reason = "latched" if change == LATCHED_NOW else "score"
                    self._told[slot] = self._peak[slot]
                    events.append(self._event(slot, "updated", reason, value, names))
            elif abnormal[at[place]]:
                events += self._end_stale(slot, when, "data is back", names)
                events.append(self._raise(slot, when, value, found, place, names))
        return events

    def stale(self, slots: I32, t: F64, names: Sequence[str]) -> list[Alarm]:
        """Return the events of sensors that were live and fell silent: at t, (N,), the silence was too long."""
        events: list[Alarm] = []
        if not self.wants_stale:
            return events
        for slot, when in zip(slots.tolist(), t.tolist(), strict=True):
            if self._stale[slot]:
                continue
            if self._phase[slot] == _OPEN:
                events.append(self._clear(slot, when, None, "stale", names))
            self._stale[slot], self._stale_since[slot] = True, when
            self._stales_open += 1
            self.raised_total["stale"] += 1
            events.append(self._stale_event(slot, "raised", "stale", None, names))
        return events

    def fresh(self, slots: I32, t: F64, names: Sequence[str]) -> list[Alarm]:
        """Return the events of sensors whose data is back: at t, (N,), came the first sample."""
        events: list[Alarm] = []
        if self._stales_open:
            for slot, when in zip(slots.tolist(), t.tolist(), strict=True):
                events += self._end_stale(slot, when, "data is back", names)
        return events

    def open(self, names: Sequence[str]) -> list[Alarm]:
        """Return the open alarms as they stand, for whoever asks; asking changes nothing."""
        found = [
            self._event(int(slot), "raised", "score", None, names) for slot in np.flatnonzero(self._phase == _OPEN)
        ]
        return found + [
            self._stale_event(int(slot), "raised", "stale", None, names) for slot in np.flatnonzero(self._stale)
        ]

    def forget(self, slots: I32, t: F64, names: Sequence[str], reason: str = "forgotten") -> list[Alarm]:
        """Clear what is open for these sensors, at t, (N,), and reset them; to be called before they lose their name.

        A newcomer in the slot is never joined to an alarm of the sensor before.
        """
        events: list[Alarm] = []
        for slot, when in zip(slots.tolist(), t.tolist(), strict=True):
            events += self._end_stale(slot, when, reason, names)
            if self._phase[slot] == _OPEN:
                events.append(self._clear(slot, when, None, reason, names))
            self._phase[slot] = _NEVER
        return events

    def _raise(self, slot: int, when: float, score: float, found: Findings, place: int, names: Sequence[str]) -> Alarm:
        """Open an alarm, or the sensor's last one again where its cool-down is not over."""
        pause = when - float(self._until[slot])
        if self._phase[slot] == _CLOSED and self.cool_down_s > 0 and 0 <= pause <= self.cool_down_s:
            if score > self._peak[slot]:
                self._remember(slot, score, found, place)
        else:
            self._since[slot] = when
            self.raised_total["score"] += 1
            self._remember(slot, score, found, place)
        self._phase[slot] = _OPEN
        self._scores_open += 1
        self._told[slot] = self._peak[slot]
        return self._event(slot, "raised", "score", score, names)

    def _clear(self, slot: int, when: float, score: float | None, reason: str, names: Sequence[str]) -> Alarm:
        self._phase[slot], self._until[slot] = _CLOSED, when
        self._scores_open -= 1
        return self._event(slot, "cleared", reason, score, names)

    def _end_stale(self, slot: int, when: float, reason: str, names: Sequence[str]) -> list[Alarm]:
        if not self._stale[slot]:
            return []
        self._stale[slot] = False
        self._stales_open -= 1
        return [self._stale_event(slot, "cleared", reason, when, names)]

    def _remember(self, slot: int | I32, score: float | F64, found: Findings, place: int | NDArray[np.intp]) -> None:
        """Keep a new peak, and what the model said there."""
        self._peak[slot] = score
        self._label[slot], self._confidence[slot] = found.label[place], found.confidence[place]
        self._channel[slot] = found.channel[place]
        self._first[slot], self._last[slot] = found.first[place], found.last[place]

    def _event(self, slot: int, state: str, reason: str, score: float | None, names: Sequence[str]) -> Alarm:
        since, label, channel, first = (
            array[slot].item() for array in (self._since, self._label, self._channel, self._first)
        )
        return Alarm(
            id=self._id("score", names[slot], since),
            state=state,
            reason=reason,
            stream=self.stream,
            sensor=names[slot],
            since=since,
            until=float(self._until[slot]) if state == "cleared" else None,
            score=None if score is None or score != score else score,
            peak=float(self._peak[slot]),
            label=self._classes[label] if label >= 0 else None,
            label_confidence=float(self._confidence[slot]) if label >= 0 else None,
            channel=self._channels[channel] if channel >= 0 else None,
            part=(first, int(self._last[slot])) if first >= 0 else None,
            model=self.model,
        )

    def _stale_event(self, slot: int, state: str, reason: str, until: float | None, names: Sequence[str]) -> Alarm:
        since = float(self._stale_since[slot])
        return Alarm(
            id=self._id("stale", names[slot], since),
            state=state,
            reason=reason,
            stream=self.stream,
            sensor=names[slot],
            since=since,
            until=until,
            score=None,
            peak=None,
            label=None,
            label_confidence=None,
            channel=None,
            part=None,
            model=self.model,
        )

    def _id(self, kind: str, sensor: str, since: float) -> str:
        """Return a name that a replay of the same samples gives, too."""
        return blake2s(f"{self.stream}\0{sensor}\0{kind}\0{since!r}".encode(), digest_size=8).hexdigest()
