"""The slow, obvious twin of daemon.core.alarms: one sensor, one row at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

CLEARED, LATCHED_NOW, REGIME_CHANGED = 2, 3, 4


@dataclass
class Event:
    state: str
    reason: str
    since: float
    until: float | None
    peak: float | None
    window: int | None  # number of the row whose window had the peak; None for stale


class Life:
    """The life of one sensor's alarms."""

    def __init__(self, cool_down_s: float) -> None:
        self.cool_down_s = cool_down_s
        self.open: Event | None = None
        self.last: Event | None = None
        self.silent_since: float | None = None
        self.told = 0.0
        self.new = 0

    def event(self, state: str, reason: str, until: float | None = None) -> Event:
        assert self.open is not None
        self.told = self.open.peak
        return Event(state, reason, self.open.since, until, self.open.peak, self.open.window)

    def row(self, number: int, t: float, score: float, state: int, change: int) -> list[Event]:
        events = []
        if self.open is None:
            if state > 0 and not math.isnan(score):
                events += self.fresh(t)
                last = self.last
                if (
                    last is not None
                    and last.until is not None
                    and self.cool_down_s > 0
                    and (0 <= t - last.until <= self.cool_down_s)
                ):
                    self.open = last
                    self.open.until = None
                    if score > last.peak:
                        last.peak, last.window = score, number
                else:
                    self.open = Event("", "", t, None, score, number)
                    self.new += 1
                events.append(self.event("raised", "score"))
            return events
        higher = (state > 0 or change > 0) and score > self.open.peak
        if higher:
            self.open.peak, self.open.window = score, number
        if change in (CLEARED, REGIME_CHANGED):
            events.append(self.clear(t, "score" if change == CLEARED else "regime changed"))
        elif change == LATCHED_NOW:
            events.append(self.event("updated", "latched"))
        elif higher and score >= 2 * self.told:
            events.append(self.event("updated", "score"))
        return events

    def clear(self, t: float, reason: str) -> Event:
        event = self.event("cleared", reason, t)
        self.open.until = t
        self.last, self.open = self.open, None
        return event

    def stale(self, t: float) -> list[Event]:
        if self.silent_since is not None:
            return []
        events = [self.clear(t, "stale")] if self.open else []
        self.silent_since = t
        return [*events, Event("raised", "stale", t, None, None, None)]

    def fresh(self, t: float, reason: str = "data is back") -> list[Event]:
        if self.silent_since is None:
            return []
        since, self.silent_since = self.silent_since, None
        return [Event("cleared", reason, since, t, None, None)]

    def forget(self, t: float) -> list[Event]:
        events = self.fresh(t, "forgotten")
        if self.open:
            events.append(self.clear(t, "forgotten"))
        self.last = None
        return events
