"""Which sensors a stream knows: name <-> slot. Bounded; a newcomer never evicts."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from daemon.core.records import I32


class Roster:
    """Slots 0 .. capacity-1 for the sensors of one stream; sensors appear by themselves.

    A slot freed by `evict` is used again and its `generation` goes up, so that what was cached for the old
    sensor can be told from the new one.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.names: list[str] = []
        self.generation: I32 = np.zeros(capacity, np.int32)
        self._slots: dict[str, int] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, name: str) -> bool:
        return name in self._slots

    def slot(self, name: str) -> int:
        """Return the sensor's slot, or -1 where it has none yet."""
        return self._slots.get(name, -1)

    def admit(self, name: str) -> int:
        """Return the sensor's slot, a fresh one for a newcomer; -1 where the roster is full."""
        slot = self._slots.get(name, -1)
        if slot >= 0:
            return slot
        if self._free:
            slot = self._free.pop()
            self.names[slot] = name
        elif len(self.names) < self.capacity:
            slot = len(self.names)
            self.names.append(name)
        else:
            return -1
        self._slots[name] = slot
        return slot

    def evict(self, slots: Iterable[int]) -> None:
        """Forget the sensors in these slots."""
        for slot in slots:
            del self._slots[self.names[slot]]
            self.names[slot] = ""
            self._free.append(slot)
            self.generation[slot] += 1

    def occupied(self) -> I32:
        """Return the slots in use."""
        return np.fromiter(self._slots.values(), np.int32, len(self._slots))
