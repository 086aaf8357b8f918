"""Did the daemon catch the faults? Alarms held against the truth of the schedule; pure, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Truth:
    """A fault that was injected. start, end: epoch seconds; caught_s: seconds from its start to its alarm."""

    sensor: str
    kind: str
    start: float
    end: float
    caught_s: float | None = None


@dataclass(slots=True)
class Judge:
    """Counts caught faults and false alarms.

    grace_s: one window. An onset in [start, end + grace_s] of a fault on its sensor is true; any other is false.
    """

    grace_s: float
    faults: list[Truth] = field(default_factory=list)
    false_alarms: list[tuple[str, float]] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    def add(self, faults: Sequence[Truth]) -> None:
        """Announce faults; before their alarms can come."""
        self.faults += faults

    def alarm(self, id_: str, sensor: str, since: float) -> str:
        """Judge an alarm that was raised: "caught", "again" (of a fault already caught), "known" id, or "false"."""
        if id_ in self._seen:
            return "known"
        self._seen.add(id_)
        for fault in self.faults:
            if fault.sensor == sensor and fault.start <= since <= fault.end + self.grace_s:
                if fault.caught_s is not None:
                    return "again"
                fault.caught_s = since - fault.start
                return "caught"
        self.false_alarms.append((sensor, since))
        return "false"

    def over(self, t: float) -> list[Truth]:
        """Return the faults whose chance to be caught has passed at time `t`."""
        return [fault for fault in self.faults if fault.end + self.grace_s < t]

    @staticmethod
    def caught_of(faults: Sequence[Truth]) -> list[Truth]:
        """Return those of the faults that were caught."""
        return [fault for fault in faults if fault.caught_s is not None]
