"""Streamed windows are the offline slices, whatever the blocks, the interleaving, the hop and the gaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.core.grid import Grid, Placed
from daemon.core.records import Samples
from daemon.core.rings import Rings
from tests.naive import grid as naive

SENSORS = 3


def samples(sensor: list[int], t: list[float], values: np.ndarray) -> Samples:
    return Samples(np.array(sensor, np.int32), np.array(t, float), values.astype(np.float32), np.zeros(len(sensor)))


def windows_of(rings: Rings, placed: Placed) -> list[tuple[int, float, list[list[float]]]]:
    out = []
    for runs in rings.passes(placed.sensor, placed.restart):
        for due in rings.push(runs, placed.values, placed.real):
            x = due.gather(slice(None))
            out += [(int(s), float(placed.t[r]), w.tolist()) for s, r, w in zip(due.sensor, due.row, x, strict=True)]
    return out


def by_sensor(windows: list[tuple[int, float, list[list[float]]]]) -> dict[int, list[tuple[float, list[list[float]]]]]:
    return {s: [(t, w) for sensor, t, w in windows if sensor == s] for s in range(SENSORS)}


@given(
    rows=st.lists(st.integers(0, SENSORS - 1), max_size=300),
    cuts=st.lists(st.integers(1, 90), min_size=1, max_size=8),
    window=st.integers(1, 40),
    hop=st.integers(1, 50),
    channels=st.integers(1, 3),
)
def test_streamed_windows_are_the_offline_slices(rows, cuts, window, hop, channels):
    grid = Grid(SENSORS, channels, window, timed=False)
    rings = Rings(SENSORS, window, channels, hop)
    grid.reset(np.arange(SENSORS))
    values = np.arange(len(rows) * channels).reshape(-1, channels)
    got, at, cut = [], 0, 0
    while at < len(rows):
        n = cuts[cut % len(cuts)]
        block = slice(at, at + n)
        t = list(range(at, min(at + n, len(rows))))
        got += windows_of(rings, grid.place(samples(rows[block], t, values[block])))
        at, cut = at + n, cut + 1
    got = by_sensor(got)
    for sensor in range(SENSORS):
        mine = values[[i for i, s in enumerate(rows) if s == sensor]]
        offline = [mine[i : i + window].tolist() for i in range(0, len(mine) - window + 1, hop)]
        assert [w for _, w in got[sensor]] == offline


sample = st.tuples(
    st.integers(0, SENSORS - 1),
    st.one_of(
        st.just(1.0),
        st.floats(0.3, 1.8),
        st.integers(1, 12).map(float),
        st.floats(-60, -0.1),
        st.just(0.0),
        st.just(1e5),
    ),
)


@settings(max_examples=300)
@given(
    steps=st.lists(sample, max_size=250),
    cuts=st.lists(st.integers(1, 60), min_size=1, max_size=8),
    window=st.integers(1, 30),
    hop=st.integers(1, 9),
    limit_s=st.sampled_from([0.0, 2.0, 5.0, 100.0]),
    interval_s=st.sampled_from([None, 1.0]),
    fill=st.sampled_from(["hold", "linear"]),
)
def test_gaps_lates_and_duplicates_go_as_in_the_slow_twin(steps, cuts, window, hop, limit_s, interval_s, fill):
    limit_s = limit_s if interval_s else 0.0
    latest = 1000.0 + 300
    grid = Grid(SENSORS, 2, window, interval_s=interval_s, fill=fill, limit_s=limit_s)
    rings = Rings(SENSORS, window, 2, hop)
    grid.reset(np.arange(SENSORS))
    clock = [1000.0] * SENSORS
    sensor, t = [], []
    for s, step in steps:
        stamp = clock[s] + step
        if step < 1e5:
            clock[s] = stamp
        sensor.append(s)
        t.append(stamp)
    values = np.arange(2 * len(t)).reshape(-1, 2).astype(float)
    twins = [naive.Sensor(window, hop, interval_s, limit_s, fill, latest=latest) for _ in range(SENSORS)]
    for s, stamp, value in zip(sensor, t, values.tolist(), strict=True):
        twins[s].take(stamp, value)
    got, at, cut = [], 0, 0
    while at < len(t):
        block = slice(at, at + cuts[cut % len(cuts)])
        got += windows_of(rings, grid.place(samples(sensor[block], t[block], values[block]), latest))
        at, cut = block.stop, cut + 1
    got = by_sensor(got)
    for s, twin in enumerate(twins):
        assert [t for t, _ in got[s]] == [t for t, _ in twin.windows]
        np.testing.assert_allclose(
            [w for _, w in got[s]] or [[]], [w for _, w in twin.windows] or [[]], rtol=1e-5, atol=1e-4
        )
    reasons = [reason for twin in twins for reason in twin.dropped]
    assert grid.dropped == {reason: reasons.count(reason) for reason in set(reasons)}


def test_a_clock_set_back_silences_a_sensor_for_32_samples_only():
    grid = Grid(1, 1, 4, interval_s=1.0)
    grid.reset(np.array([0]))
    grid.place(samples([0] * 5, [1e9 + i for i in range(5)], np.zeros((5, 1))))
    placed = grid.place(samples([0] * 40, [1e9 - 3600 + i for i in range(40)], np.zeros((40, 1))))
    assert (grid.dropped, grid.watermark_resets) == ({"late": 31}, 1)
    assert placed.restart.tolist() == [True] + [False] * 8


def test_the_measured_interval_is_the_median_of_the_first_256_differences():
    grid = Grid(2, 1, 4)
    grid.reset(np.arange(2))
    t = np.cumsum(np.r_[np.full(200, 0.5), np.full(56, 9.0)])
    grid.place(samples([0] * len(t), t.tolist(), np.zeros((len(t), 1))))
    assert grid.measured_s is None
    grid.place(samples([0], [t[-1] + 7], np.zeros((1, 1))))
    assert grid.measured_s == 0.5


def test_an_evicted_slot_starts_empty():
    rings = Rings(1, 4, 1, 1)
    values, real = np.ones((4, 1), np.float32), np.ones(4, bool)
    for length, due in ((4, 1), (3, 0)):
        rings.reset(np.array([0]))
        (runs,) = rings.passes(np.zeros(length, np.int32), np.zeros(length, bool))
        assert [len(found) for found in rings.push(runs, values, real[:length])] == [due]


def test_rings_cost_one_and_a_quarter_windows():
    assert Rings(10, 256, 1, 16).slab.nbytes == 10 * 256 * 1.25 * 4


@pytest.mark.parametrize("n", [0, 1])
def test_an_empty_or_single_drain_is_fine(n):
    grid, rings = Grid(1, 1, 1, timed=False), Rings(1, 1, 1, 1)
    grid.reset(np.array([0]))
    assert len(windows_of(rings, grid.place(samples([0] * n, [0.0] * n, np.zeros((n, 1)))))) == n
