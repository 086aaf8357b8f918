"""Histories that several tests fit on."""

import numpy as np

from training.history import data, simulate


def asset():
    """Return three sensors of one machine, seen together."""
    columns = simulate.plant(3, 1600, seed=4, rate_hz=50.0, family="demo")
    values = np.hstack([one.values for one in columns])
    labels = np.logical_or.reduce([one.anomaly for one in columns])
    return data.History("asset.csv", ("a", "b", "c"), columns[0].t, values, labels, 0.02, 640)


def still():
    """Return two sensors that never moved."""
    values = np.full((400, 2), 7, np.float32)
    return data.History("still.csv", ("a", "b"), np.arange(400.0), values, np.zeros(400, bool), 1.0, 400)
