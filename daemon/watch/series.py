"""Single sensors as series: read from their arrays when somebody asks, capped, so that what is gone leaves no trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from daemon.core.records import F64, I8

Series = dict[tuple[str, ...], float]

#: A longer sensor name gets no series: 200 topics of 64 KiB would be a scrape of 13 MB.
LONGEST_NAME = 256


@dataclass(frozen=True, slots=True)
class SensorSeries:
    """One stream's sensors by slot.

    names: S of them. score: (S,), NaN where there is none. state: (S,) index into SENSOR_STATES, -1 for a free slot.
    """

    names: Sequence[str]
    score: F64
    state: I8


def sensor_series(streams: Mapping[str, Callable[[], SensorSeries]], cap: int) -> dict[str, Series]:
    """Return the series sensor_score, sensor_state (by stream and sensor) and sensor_series_omitted (by stream).

    The first sensors by slot are shown, `cap` over all streams: a fixed choice, so series do not come and go with the
    scores. The arrays may change meanwhile: a score may then be one batch newer than its neighbour's.
    """
    scores: Series = {}
    states: Series = {}
    omitted: Series = {}
    for stream, read in streams.items():
        sensors = read()
        size = min(len(sensors.names), len(sensors.score), len(sensors.state))
        slots = np.flatnonzero(sensors.state[:size] >= 0)
        shown = [slot for slot in slots[: cap - len(states)].tolist() if _fits(sensors.names[slot])]
        for slot in shown:
            key = (stream, sensors.names[slot])
            states[key] = float(sensors.state[slot])
            if not np.isnan(sensors.score[slot]):
                scores[key] = float(sensors.score[slot])
        omitted[(stream,)] = float(len(slots) - len(shown))
    return {"sensor_score": scores, "sensor_state": states, "sensor_series_omitted": omitted}


def _fits(name: str) -> bool:
    """Return whether a sensor's name can be a label value: a lone surrogate would break the whole scrape."""
    return len(name) <= LONGEST_NAME and name.isprintable()
