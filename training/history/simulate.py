"""A simulated plant as history: one single-sensor series per sensor, with the faults it had as labels."""

from __future__ import annotations

import numpy as np

from daemon.demo import faults
from daemon.demo.plant import Family, Plant
from training.history.data import History

TRAIN_SHARE = 0.4  # the quiet start of each series


def plant(sensors: int, rows: int, seed: int, rate_hz: float, family: Family) -> list[History]:
    """Return every sensor of one plant; half of them get a fault behind the quiet start. Time starts at 0."""
    one = Plant(sensors, seed=seed, rate_hz=rate_hz, family=family)
    quiet = int(rows * TRAIN_SHARE)
    schedule = faults.plan(one.quantities, (quiet, rows), seed, faults=max(1, sensors // 2))
    values = faults.apply(one.take(rows), schedule, seed)
    anomaly = np.zeros(values.shape, np.bool_)
    for fault in schedule:
        anomaly[fault.start : fault.end, fault.sensor] = True
    t = np.arange(rows) / rate_hz
    return [
        History(
            f"{name.replace('/', '-')}.csv", (name.split("/")[1],), t, values[:, k : k + 1], anomaly[:, k],
            1 / rate_hz, quiet,
        )
        for k, name in enumerate(one.names)
    ]  # fmt: skip
