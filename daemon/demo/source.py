"""The simulated plant as a publisher: blocks of samples in real time, faults put in at known times."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from daemon.core.records import F32
from daemon.demo import faults
from daemon.demo.judge import Truth
from daemon.demo.plant import Plant

SENSORS = 20
RATE_HZ = 50.0
BLOCK = 5  # samples in one message: ten messages a second from each sensor

#: Samples before the first fault: the window fills, then every sensor learns what is usual for it.
CALM_ROWS = 700

#: Endless demos are planned a minute at a time.
EPISODE_ROWS = 3000

FAULTS = 8


class Source:
    """What every sensor publishes, when. seconds: how long there is, None for ever."""

    def __init__(self, seed: int, seconds: float | None) -> None:
        self.seed = seed
        self.messages = 0
        self._plant = Plant(SENSORS, seed, RATE_HZ)
        self.names = self._plant.names
        self._start: float | None = None
        self._episode, self._row, self._base = 0, 0, 0
        self._new: list[faults.Fault] = []
        # a fault needs its own length, a window to be seen in and the way back
        self._rows = EPISODE_ROWS if seconds is None else max(0, int(seconds * RATE_HZ) - 100)
        self._endless = seconds is None
        self._values = self._plan()

    def due(self, now: float) -> Iterator[tuple[str, bytes]]:
        """Yield (topic, payload) of every block whose last sample lies in the past. now: epoch seconds."""
        if self._start is None:
            self._start = now
        while self._start + (self._base + self._row + BLOCK) / RATE_HZ <= now:
            if self._row + BLOCK > len(self._values):
                self._base, self._row = self._base + self._row, 0
                self._episode += 1
                self._values = self._plan()
            block = self._values[self._row : self._row + BLOCK]
            t0 = self._time(self._row + 1)
            for sensor, name in enumerate(self.names):
                values = [round(float(value), 5) for value in block[:, sensor]]
                yield f"plant/{name}", json.dumps({"t0": t0, "dt": 1 / RATE_HZ, "values": values}).encode()
                self.messages += 1
            self._row += BLOCK

    def published(self, t: float) -> float:
        """Return when the block that holds the sample stamped `t` was due: its last sample's time."""
        assert self._start is not None
        blocks = np.ceil((t - self._start) * RATE_HZ / BLOCK - 1e-6)
        return float(self._start + blocks * BLOCK / RATE_HZ)

    def announce(self) -> list[Truth]:
        """Return the truth of the faults planned since the last call; once publishing has begun."""
        if self._start is None:
            return []
        new, self._new = self._new, []
        return [Truth(self.names[f.sensor], f.kind, self._time(f.start + 1), self._time(f.end)) for f in new]

    def _time(self, row: int) -> float:
        assert self._start is not None
        return self._start + (self._base + row) / RATE_HZ

    def _plan(self) -> F32:
        """Make the next stretch of the plant, with its faults."""
        calm = CALM_ROWS if self._episode == 0 else 200
        last = self._rows if not self._endless else EPISODE_ROWS
        values = self._plant.take(max(last + 200, BLOCK) if not self._endless else EPISODE_ROWS)
        room = last - calm
        n = min(FAULTS, room // 100) if room >= 200 else 0
        if not n:
            return values
        schedule = faults.plan(self._plant.quantities, (calm, last), self.seed + self._episode, faults=n)
        self._new += schedule
        return faults.apply(values, schedule, self.seed + self._episode)
