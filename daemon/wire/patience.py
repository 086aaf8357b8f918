"""How long to wait before the next attempt to connect, and whether somebody else uses our client id. No clock."""

from __future__ import annotations

import random
from collections.abc import Callable

#: The first wait, doubled at every failure up to the configured longest.
FIRST_S = 0.5
#: A connection that lived less than this was no success: the waits go on growing.
SHORT_S = 10.0
#: So many short connections in a row, each closed by the broker without a word, look like a stolen client id.
SUSPICIOUS = 3


class Patience:
    """Jittered, capped, exponential waits. Two clients that push each other out must not do so as fast as they can."""

    def __init__(self, longest_s: float, jitter: Callable[[], float] = random.random) -> None:
        self.longest_s = longest_s
        self._jitter = jitter
        self._failures = 0
        self._pushed = 0

    def lost(self, lived_s: float | None, *, pushed_out: bool = False, stolen: bool = False) -> None:
        """Note the end of a connection: lived_s after it was accepted, None: it never was.

        pushed_out: the broker closed it without giving a reason, as MQTT 3.1.1 brokers do when the client id
        connects a second time. stolen: the broker said so, as MQTT 5 lets it.
        """
        if lived_s is not None and lived_s >= SHORT_S:
            self._failures = 0
        self._failures += 1
        if stolen:
            self._pushed = SUSPICIOUS
        elif lived_s is None or self.settled(lived_s):
            self._pushed = 0  # a broker that cannot be reached has restarted; a client pushed out can always return
        elif pushed_out:
            self._pushed += 1

    def settled(self, lived_s: float) -> bool:
        """Whether nobody who wants our client id can have been waiting for so long; if so, forget the suspicion."""
        calm = lived_s >= max(SHORT_S, 2 * self.longest_s)
        if calm:
            self._pushed = 0
        return calm

    @property
    def stolen(self) -> bool:
        """Whether the pattern of a client id used twice was seen."""
        return self._pushed >= SUSPICIOUS

    def wait_s(self) -> float:
        """Return how long to wait now: between half and all of the current step; the longest where an id is stolen."""
        step = self.longest_s if self.stolen else min(FIRST_S * 2 ** min(self._failures - 1, 30), self.longest_s)
        return step * (0.5 + 0.5 * self._jitter())
