"""The values that travel between stages, frozen; struct of arrays, so no object per sample.

Shapes use five letters: N windows or samples, W window, C channels, S sensors, K classes.
`sensor` is always a slot: the sensor's row in its stream's rings. Names live in the roster.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I8 = NDArray[np.int8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Samples:
    """Decoded rows of one stream, in arrival order.

    sensor: (N,) int32 slots. t: (N,) float64 epoch seconds, the sensor's own time or, where the stream has no
    times, the arrival. values: (N, C) float32, finite, C-contiguous. arrived: (N,) float64, the monotonic clock.
    """

    sensor: I32
    t: F64
    values: F32
    arrived: F64

    def __len__(self) -> int:
        return len(self.sensor)


@dataclass(frozen=True, slots=True)
class Windows:
    """Full windows that are due, in an order that is time order for each sensor.

    sensor: (N,) int32 slots, repeated where a sensor has several. t, arrived: (N,) of each window's last row.
    x: (N, W, C) float32, oldest row first.
    """

    sensor: I32
    t: F64
    arrived: F64
    x: F32

    def __len__(self) -> int:
        return len(self.sensor)


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the graph said of N windows; the optional outputs are None where the model has none."""

    score: F32  # (N,)
    class_probability: F32 | None = None  # (N, K)
    channel_score: F32 | None = None  # (N, C)
    time_score: F32 | None = None  # (N, W)


#: What the calibration says of a score: `state` (where the sensor stands now) and `change` (what just happened).
NORMAL, ALARM, LATCHED = 0, 1, 2
NO_CHANGE, RAISED, CLEARED, LATCHED_NOW, REGIME_CHANGED = 0, 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The calibration's answer to N raw scores.

    score: (N,) float64, 1.0 = alarm level; NaN while the sensor is still warming (no threshold yet).
    state: (N,) int8 NORMAL | ALARM | LATCHED. change: (N,) int8 NO_CHANGE | RAISED | CLEARED | LATCHED_NOW |
    REGIME_CHANGED.
    """

    score: F64
    state: I8
    change: I8


@dataclass(frozen=True, slots=True)
class Scored:
    """N scored windows of one stream, ready to publish. `label` is the winning class's index, -1 for none."""

    sensor: I32
    t: F64
    arrived: F64
    raw: F32
    score: F64
    state: I8
    label: I32

    def __len__(self) -> int:
        return len(self.sensor)


@dataclass(frozen=True, slots=True)
class Alarm:
    """One event in an alarm's life. Times are epoch seconds; None is unknown or not applicable.

    state: "raised" | "updated" | "cleared". reason: "score" | "latched" | "stale" | "data is back" |
    "regime changed" | "forgotten" | "stopped". part: (first_row, last_row) of the window that the model points at.
    """

    id: str
    state: str
    reason: str
    stream: str
    sensor: str
    since: float
    until: float | None
    score: float | None
    peak: float | None
    label: str | None
    label_confidence: float | None
    channel: str | None
    part: tuple[int, int] | None
    model: str


@dataclass(frozen=True, slots=True)
class SensorState:
    """A sensor's state changed: "warming" (have of need rows, then of calibration), "live", "stale", "refused"
    or "forgotten" (evicted: its retained topics are to be deleted)."""

    stream: str
    sensor: str
    state: str
    reason: str
    have: int | None = None
    need: int | None = None
