"""One stream's pipeline, without threads and sockets; sensors come, fall silent and are forgotten."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.core.card import CalibrationCard, Card
from daemon.core.pipeline import Pipeline, StreamPlan
from daemon.core.records import Outputs, Samples

SEGMENT = np.exp(0.1 * np.random.default_rng(5).normal(size=400)).tolist()


def pipeline(window: int = 8, hop: int = 1, capacity: int = 4, warm: bool = True, **plan) -> Pipeline:
    card = Card(
        contract=1,
        name="m",
        version="1",
        window=window,
        channels=["c"],
        calibration=CalibrationCard(segments=[SEGMENT] if warm else [], noise_floor=0.01),
    )
    return Pipeline(StreamPlan("s", capacity, hop, **plan), card)


def feed(pipe: Pipeline, sensor: str, t: list[float], values: list[float], now: float = 0.0) -> None:
    slot = pipe.admit(sensor)
    n = len(t)
    x = np.array(values, np.float32)[:, None]
    pipe.feed(Samples(np.full(n, slot, np.int32), np.array(t, float), x, np.zeros(n)), now)


def settle(pipe: Pipeline, most: int = 64) -> tuple[list[tuple[str, float, float]], list]:
    scored, alarms = [], []
    for windows in pipe.take(most):
        assert len(windows) <= most
        raw = np.abs(windows.x).mean(axis=(1, 2))
        out = pipe.settle(windows, Outputs(raw))
        scored += [
            (pipe.names[s], float(t), float(r))
            for s, t, r in zip(out.scored.sensor, out.scored.t, out.scored.raw, strict=True)
        ]
        alarms += out.alarms
    return scored, alarms


@settings(max_examples=50)
@given(
    blocks=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 200)), max_size=12),
    hop=st.integers(1, 20),
    most=st.integers(1, 50),
)
def test_blocks_of_any_length_score_the_offline_windows_and_are_stored_before_the_last_batch(blocks, hop, most):
    pipe, rows = pipeline(hop=hop), {f"a{i}": [] for i in range(4)}
    got = []
    for sensor, n in blocks:
        name = f"a{sensor}"
        start = len(rows[name])
        rows[name] += [float(start + i) for i in range(n)]
        feed(pipe, name, [float(start + i) for i in range(n)], rows[name][start:])
        got += settle(pipe, most)[0]
        assert pipe.stored
    for name, values in rows.items():
        offline = [(float(end), np.mean(values[end - 7 : end + 1])) for end in range(7, len(values), hop)]
        np.testing.assert_allclose([(t, raw) for sensor, t, raw in got if sensor == name], offline, rtol=1e-6)


def test_a_sensor_warms_goes_live_falls_stale_comes_back_and_is_forgotten():
    pipe = pipeline(window=4, forget_after_s=100.0, stale_after_s=10.0)
    feed(pipe, "a", [0, 1, 2], [1, 1, 1], now=0)
    settle(pipe)
    (first,) = pipe.changes()
    assert (first.state, first.have, first.need) == ("warming", 3, 4)
    feed(pipe, "a", [3], [1], now=1)
    assert len(settle(pipe)[0]) == 1
    assert [change.state for change in pipe.changes()] == ["live"]
    pipe.tick(11.5)
    assert [change.state for change in pipe.changes()] == ["stale"]
    assert [(event.state, event.reason) for event in pipe.events()] == [("raised", "stale")]
    feed(pipe, "a", [4], [1], now=12)
    settle(pipe)
    assert [(event.state, event.reason) for event in pipe.events()] == [("cleared", "data is back")]
    assert [change.state for change in pipe.changes()] == ["live"]
    pipe.tick(200)
    assert [change.state for change in pipe.changes()] == ["forgotten"]
    assert [event.state for event in pipe.events()] == ["raised", "cleared"]
    assert pipe.admit("b") == 0
    feed(pipe, "b", [0, 1, 2], [9, 9, 9], now=201)
    assert settle(pipe)[0] == []


def test_a_long_gap_makes_a_sensor_warm_again_and_no_window_spans_it():
    pipe = pipeline(window=4, interval_s=1.0, limit_s=2.0)
    feed(pipe, "a", [0, 1, 2, 3, 5, 50, 51, 52, 53], [1] * 9)
    scored, _ = settle(pipe)
    assert [t for _, t, _ in scored] == [3, 5, 53]
    assert (pipe.grid.filled, pipe.restarts) == (1, 1)


def test_an_alarm_needs_no_warm_up_where_the_model_brings_its_calibration():
    pipe = pipeline(window=2)
    feed(pipe, "a", list(range(20)), [1.0] * 17 + [80.0] * 3)
    _, alarms = settle(pipe)
    assert (alarms[0].state, alarms[0].since) == ("raised", 17.0)
    assert alarms[0].sensor == "a"


def test_a_cold_sensor_has_no_score_until_it_has_a_threshold():
    pipe = pipeline(window=4, warm=False)
    feed(pipe, "a", list(range(6)), [1.0] * 6)
    settle(pipe)
    assert np.isnan(pipe.last_score[0])
    assert [change.reason for change in pipe.changes()][-1] == "the window is full, the threshold is still being learnt"


def test_a_budget_per_day_counts_once_the_interval_is_measured():
    pipe = pipeline(window=2, budget_per_day=8.64)
    assert pipe.calibration.budget_per_point == 2e-4
    feed(pipe, "a", [10.0 * i for i in range(300)], [1.0] * 300)
    settle(pipe)
    assert pipe.calibration.budget_per_point == pytest.approx(1e-3)


def test_a_crowd_of_newcomers_is_told_bit_by_bit_and_each_one_where_it_stands_then():
    pipe = pipeline(window=2, capacity=1000, forget_after_s=100.0)
    for i in range(1000):
        pipe.admit(f"a{i}")
    slots = np.arange(1000, dtype=np.int32)
    rows = Samples(slots, np.zeros(1000), np.ones((1000, 1), np.float32), np.zeros(1000))
    pipe.feed(rows, 0.0)
    settle(pipe)
    told = pipe.changes(300)
    pipe.feed(Samples(slots[:500], np.ones(500), rows.values[:500], np.zeros(500)), 1.0)
    settle(pipe)
    while more := pipe.changes(300):
        assert len(more) <= 300
        told += more
    last = {change.sensor: change.state for change in told}
    assert last == {f"a{i}": "live" if i < 500 else "warming" for i in range(1000)}
    assert len(told) == 300 + 1000
    pipe.tick(200.0)
    gone = pipe.changes(600) + pipe.changes(600)
    assert sorted(change.sensor for change in gone) == sorted(last)
    assert {change.state for change in gone} == {"forgotten"}


def test_a_sensor_that_comes_back_in_another_slot_is_told_after_it_was_forgotten():
    pipe = pipeline(window=4, forget_after_s=100.0)
    for sensor in ("a", "b"):
        feed(pipe, sensor, [0], [1])
        settle(pipe)
    pipe.tick(200.0)
    for sensor in ("b", "a"):
        feed(pipe, sensor, [300], [1], now=200.0)
        settle(pipe)
    told = [(change.sensor, change.state) for change in pipe.changes()]
    assert {sensor: [state for name, state in told if name == sensor] for sensor in "ab"} == {
        "a": ["forgotten", "warming"],
        "b": ["forgotten", "warming"],
    }


@settings(max_examples=30, deadline=None)
@given(
    blocks=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 120), st.booleans()), max_size=10),
    hop=st.integers(1, 20),
)
def test_a_drain_of_short_and_long_blocks_scores_what_its_samples_one_by_one_would(blocks, hop):
    whole, single = (pipeline(window=12, hop=hop, interval_s=1.0, limit_s=0.0) for _ in range(2))
    clock, drain = [0.0] * 4, []
    for sensor, n, gap in blocks:
        clock[sensor] += 50.0 * gap
        drain += [(sensor, clock[sensor] + i, float(i % 7)) for i in range(n)]
        clock[sensor] += n
    scored = {0: [], 1: []}
    slots = [[pipe.admit(f"a{i}") for i in range(4)] for pipe in (whole, single)]
    assert slots[0] == slots[1]
    for which, pipe, parts in ((0, whole, [drain] if drain else []), (1, single, [[row] for row in drain])):
        for part in parts:
            sensor, t, value = (np.array(column) for column in zip(*part, strict=True))
            x = value.astype(np.float32)[:, None]
            pipe.feed(Samples(sensor.astype(np.int32), t, x, np.zeros(len(t))), 0.0)
            scored[which] += settle(pipe)[0]
        assert pipe.stored
    for name in (f"a{i}" for i in range(4)):
        mine, slow = ([(t, raw) for sensor, t, raw in scored[which] if sensor == name] for which in (0, 1))
        np.testing.assert_allclose(mine, slow, rtol=1e-6)
