"""The project's one simulator: pumps, valves, motors and tanks under changing load, sampled without end.

Everything a machine does here is NORMAL: load changes, valves that stick and then move, pump strokes, drift. Faults
are put on top by `daemon.demo.faults`. Times are counted in samples, because a model sees samples: a sensor is taken
to be sampled at a rate that fits its dynamics. `rate_hz` only says how long a sample lasts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from daemon.core.records import F32, F64

Family = Literal["train", "demo"]

#: What differs between the plants a model is trained on and those it is shown on. No range overlaps its neighbour,
#: so a model that does well on "demo" has not seen these plants. Periods and times in samples; offset and noise in
#: units of the sensor's own scale.
RANGES: dict[str, dict[Family, tuple[float, float]]] = {
    #                  train          demo
    "stroke_period": {"train": (5.0, 14.0), "demo": (15.0, 24.0)},  # of a shaft or a pump, to its first harmonic
    "slow_period": {"train": (700.0, 3500.0), "demo": (4000.0, 9000.0)},  # weather, ageing: the slow drift
    "mode_length": {"train": (120.0, 500.0), "demo": (520.0, 900.0)},  # between two load changes or valve moves
    "settling": {"train": (8.0, 30.0), "demo": (32.0, 50.0)},  # time constant of a load change
    "travel": {"train": (25.0, 70.0), "demo": (72.0, 110.0)},  # a valve's way from shut to open
    "slip": {"train": (4.0, 10.0), "demo": (11.0, 15.0)},  # how long a valve slips when its seal lets go
    "tank_period": {"train": (250.0, 800.0), "demo": (850.0, 1500.0)},  # filling and draining once
    "noise": {"train": (0.02, 0.09), "demo": (0.10, 0.14)},  # standard deviation, in scales
    "scale": {"train": (1e-2, 1e2), "demo": (2e2, 1e4)},  # the unit; drawn evenly on a log scale
    "offset": {"train": (-8.0, 8.0), "demo": (9.0, 30.0)},  # in scales
}

#: Which quantities a machine of each type has; machines are added in this order until there are enough sensors.
LAYOUT: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("pump", ("vibration", "pressure", "flow", "temperature", "current")),
    ("valve", ("position", "flow", "pressure")),
    ("motor", ("vibration", "current", "temperature")),
    ("tank", ("level", "temperature")),
)

BLOCK = 256  # rows made at a time; part of what makes a seed reproducible, so never change it alone


class Plant:
    """A plant of `sensors` sensors. The same seed gives the same values, however `take` cuts them.

    names: "pump-1/vibration" and so on, `machine/quantity`. quantities: the second halves.
    """

    def __init__(self, sensors: int = 20, seed: int = 0, rate_hz: float = 50.0, family: Family = "demo") -> None:
        if sensors < 1 or rate_hz <= 0:
            raise ValueError(f"sensors, rate_hz: got {sensors}, {rate_hz}, expected at least 1 and more than 0")
        self.rate_hz, self.family = rate_hz, family
        self.names: list[str] = []
        self.quantities: list[str] = []
        self._loads: list[_Load] = []
        self._signals: list[_Signal] = []
        root = np.random.SeedSequence([seed, 0 if family == "train" else 1])
        counts: dict[str, int] = {}
        while len(self.names) < sensors:
            machine, quantities = LAYOUT[len(self._loads) % len(LAYOUT)]
            counts[machine] = counts.get(machine, 0) + 1
            load = _Load(np.random.default_rng(root.spawn(1)[0]), family)
            self._loads.append(load)
            for quantity in quantities[: sensors - len(self.names)]:
                self.names.append(f"{machine}-{counts[machine]}/{quantity}")
                self.quantities.append(quantity)
                self._signals.append(_Signal(quantity, np.random.default_rng(root.spawn(1)[0]), family, load))
        self._made = np.zeros((0, sensors), np.float32)
        self._row = 0

    def take(self, n: int) -> F32:
        """Return the next `n` rows, (n, sensors) float32, in each sensor's own unit."""
        parts = [self._made]
        have = len(self._made)
        while have < n:
            t = np.arange(self._row, self._row + BLOCK, dtype=np.float64)
            for load in self._loads:
                load.advance(t)
            parts.append(np.column_stack([signal.block(t) for signal in self._signals]).astype(np.float32))
            self._row += BLOCK
            have += BLOCK
        rows = np.concatenate(parts)
        self._made = rows[n:]
        return rows[:n]


def _draw(rng: np.random.Generator, name: str, family: Family) -> float:
    low, high = RANGES[name][family]
    if name == "scale":
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))
    return float(rng.uniform(low, high))


@dataclass
class _Load:
    """What a machine is asked to do: levels of .2 to 1 in turn, each approached smoothly, as inertia wants it.

    `now` holds the load over the block, `push` how hard the machine is being driven upwards (inrush).
    """

    rng: np.random.Generator
    family: Family
    level: float = 0.6
    base: float = 0.6
    next_change: float = 0.0
    steps: list[tuple[float, float]] = field(default_factory=list)  # (when, by how much), still settling

    def __post_init__(self) -> None:
        self.settling = _draw(self.rng, "settling", self.family)
        self.now: F64 = np.zeros(0)
        self.push: F64 = np.zeros(0)
        self.next_change = self.rng.uniform(0.2, 1.0) * _draw(self.rng, "mode_length", self.family)

    def advance(self, t: F64) -> None:
        """Move on to the block of times `t`."""
        while self.next_change <= t[-1]:
            level = self.level
            while abs(level - self.level) < 0.15:
                level = self.rng.uniform(0.2, 1.0)
            self.steps.append((self.next_change, level - self.level))
            self.level = level
            self.next_change += _draw(self.rng, "mode_length", self.family)
        done = [step for step in self.steps if t[0] - step[0] > 30 * self.settling]
        self.base += sum(by for _, by in done)
        self.steps = self.steps[len(done) :]
        self.now = np.full(len(t), self.base)
        self.push = np.zeros(len(t))
        for when, by in self.steps:
            u = np.maximum(t - when, 0.0) / self.settling
            self.now += by * (1.0 - (1.0 + u) * np.exp(-u))
            self.push += max(by, 0.0) * u * np.exp(1.0 - u)


class _Signal:
    """One sensor: the shape of its quantity, in its own scale and offset, with noise and drift."""

    def __init__(self, quantity: str, rng: np.random.Generator, family: Family, load: _Load) -> None:
        self.rng, self.family, self.load = rng, family, load
        self.scale, self.offset = _draw(rng, "scale", family), _draw(rng, "offset", family)
        self.noise = _draw(rng, "noise", family)
        self.period = _draw(rng, "stroke_period", family)
        self.phase: F64 = rng.uniform(0, 2 * np.pi, 8)
        self.slow = np.array([_draw(rng, "slow_period", family) for _ in range(3)])
        self.gain = rng.uniform(0.5, 1.5) * rng.choice([-1.0, 1.0], p=[0.2, 0.8])
        self.weight = rng.uniform(0.1, 0.6, 3)
        self.red = 0.0  # last value of the turbulence
        self.shape: Callable[[F64], F64] = getattr(self, f"_{quantity}")
        if quantity == "position":
            self.travel = _draw(rng, "travel", family)
            self.held, self.next_move = rng.uniform(0.1, 0.9), 0.5 * _draw(rng, "mode_length", family)
            self.moves: list[tuple[float, float, float, float]] = []  # start, end, from, to
        if quantity == "level":
            self.tank_period, self.fill = _draw(rng, "tank_period", family), rng.uniform(0.3, 0.7)
        if quantity == "temperature":
            self.lag, self.warm = 12 * load.settling, 0.6
            self.step = 0.3 * self.noise * rng.choice([0.0, 0.5, 1.0])  # resolution of the converter

    def block(self, t: F64) -> F64:
        """Return the values at times `t`, in the sensor's unit."""
        return self.scale * (self.offset + self.shape(t))

    def _white(self, t: F64, share: float = 1.0) -> F64:
        noise: F64 = share * self.noise * self.rng.standard_normal(len(t))
        return noise

    def _turbulence(self, t: F64, share: float, memory: float) -> F64:
        """Return noise with memory (first-order autoregressive), of standard deviation share * noise."""
        fresh = self.rng.standard_normal(len(t)) * np.sqrt(1 - memory**2)
        out = np.empty(len(t))
        for k, value in enumerate(fresh.tolist()):
            self.red = memory * self.red + value
            out[k] = self.red
        return share * self.noise * out

    def _drift(self, t: F64) -> F64:
        slow: F64 = np.sin(2 * np.pi * t[:, None] / self.slow + self.phase[5:8]).sum(axis=1) / 3
        return slow

    def _vibration(self, t: F64) -> F64:
        turn = 2 * np.pi * t / self.period
        wave = np.sin(turn + self.phase[0])
        for k in (2, 3):
            wave += self.weight[k - 1] * np.sin(k * turn + self.phase[k])
        flutter = 1 + 0.1 * np.sin(turn / 9.3 + self.phase[4])
        value: F64 = 0.7 * (0.5 + 0.5 * self.load.now) * flutter * wave + self._white(t, 2.0)
        return value

    def _pressure(self, t: F64) -> F64:
        stroke: F64 = np.abs(np.sin(np.pi * t / self.period + self.phase[0]))
        value: F64 = self.gain * self.load.now + self.weight[0] * stroke + 0.2 * self._drift(t) + self._white(t)
        return value

    def _flow(self, t: F64) -> F64:
        value: F64 = self.gain * self.load.now + self._turbulence(t, 1.0, 0.7) + self._white(t, 0.5)
        return value

    def _current(self, t: F64) -> F64:
        ripple = 0.15 * np.sin(2 * np.pi * t / (0.45 * self.period) + self.phase[1])
        value: F64 = abs(self.gain) * self.load.now + 0.4 * self.load.push + ripple + self._white(t)
        return value

    def _temperature(self, t: F64) -> F64:
        target, out = self.load.now, np.empty(len(t))
        for k, load in enumerate(target.tolist()):
            self.warm += (load - self.warm) / self.lag
            out[k] = self.warm
        value = out + self._drift(t) + self._white(t, 0.3)
        return np.round(value / self.step) * self.step if self.step else value

    def _level(self, t: F64) -> F64:
        u = (t / self.tank_period + self.phase[0]) % 1.0
        tank = np.where(u < self.fill, u / self.fill, (1 - u) / (1 - self.fill))
        slosh = 0.05 * np.sin(2 * np.pi * t / (2.2 * self.period) + self.phase[1])
        value: F64 = tank + slosh + self._white(t, 0.4)
        return value

    def _position(self, t: F64) -> F64:
        """A valve holds still, sticks when it is asked to move, slips a little, then travels at its own speed."""
        while self.next_move <= t[-1]:
            goal = self.rng.uniform(0.0, 1.0)
            slip = self.held + self.rng.uniform(0.0, 0.15) * (goal - self.held)
            free = self.next_move + _draw(self.rng, "slip", self.family)
            end = free + max(abs(goal - slip) * self.travel, 1.0)
            self.moves += [(self.next_move, free, self.held, slip), (free, end, slip, goal)]
            self.held = goal
            self.next_move = end + self.rng.uniform(0.3, 1.0) * _draw(self.rng, "mode_length", self.family)
        out = np.full(len(t), self.moves[0][2] if self.moves else self.held)
        for start, end, old, new in self.moves:
            out = np.where(t >= start, old + (new - old) * np.clip((t - start) / (end - start), 0, 1), out)
        self.moves = self.moves[-6:]
        return out + self._white(t, 0.2)
