"""Drift is the population stability index, told per column, of what was scored lately."""

import dataclasses
import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.core import card as cards
from daemon.core import drift
from daemon.core.drift import Drift, Reference
from daemon.errors import ModelError
from tests import models
from tests.brokers import Mosquitto, Peer
from tests.daemons import Daemon, stream


def index(reference, values, edges):
    """The textbook's loop: shares of each bin now and then; empty ones count as 1e-4."""
    bounds = [-math.inf, *edges, math.inf]
    total = 0.0
    for low, high in pairwise(bounds):
        then, now = (
            max(sum(1 for value in rows if low < value <= high) / len(rows), 1e-4) for rows in (reference, values)
        )
        total += (now - then) * math.log(now / then)
    return total


@given(st.integers(0, 2**31), st.floats(-2, 2), st.sampled_from([1, 3, 200]))
def test_the_index_is_the_textbooks(seed, moved, different):
    rng = np.random.default_rng(seed)
    then = rng.integers(0, different, 500).astype(np.float32) + rng.choice([0, 0.5], 500).astype(np.float32)
    now = (rng.permutation(then)[:250].repeat(4) + np.float32(moved)).astype(np.float32)
    reference = Reference.of(then)
    one = Drift(["a"], [reference])
    for part in np.array_split(now, 7):
        one.update(np.zeros(len(part)), part[:, None])
    assert one.index()["a"] == pytest.approx(index(then.tolist(), now.tolist(), reference.edges), rel=1e-6, abs=1e-9)


def test_the_same_population_reads_near_zero_a_shift_by_half_a_spread_does_not():
    rng = np.random.default_rng(0)
    then, now = rng.standard_normal((2, 20_000, 3)).astype(np.float32)
    now[:, 1] += 0.5
    now[:, 2] += 100
    one = Drift("abc", [Reference.of(then[:, k]) for k in range(3)])
    one.update(np.arange(20_000.0), now)
    found = one.index()
    assert found["a"] < 0.05
    assert 0.15 < found["b"] < 0.4
    assert found["c"] == pytest.approx(16, abs=1)


def test_a_sensor_that_never_moved_has_not_drifted_until_it_does():
    one = Drift(["a"], [Reference.of(np.full(300, 7, np.float32))])
    one.update(np.zeros(5000), np.full((5000, 1), 7, np.float32))
    assert one.index()["a"] == pytest.approx(0, abs=1e-3)
    for value in (6.9, 7.1):
        other = Drift(["a"], [Reference.of(np.full(300, 7, np.float32))])
        other.update(np.zeros(5000), np.full((5000, 1), value, np.float32))
        assert other.index()["a"] > 5


def test_nothing_is_told_of_few_rows_and_rows_without_a_value_do_not_count():
    one = Drift(["a"], [Reference.of(np.arange(100, dtype=np.float32))])
    one.update(np.zeros(999), np.full((999, 1), 5, np.float32))
    one.update(np.zeros(50), np.full((50, 1), np.nan, np.float32))
    assert one.index() == {}
    one.update(np.zeros(1), np.full((1, 1), 5, np.float32))
    assert set(one.index()) == {"a"}


def test_yesterday_counts_half_and_a_clock_that_goes_back_changes_nothing():
    then = np.random.default_rng(1).standard_normal(5000).astype(np.float32)
    one = Drift(["a"], [Reference.of(then)])
    one.update(np.zeros(5000), then[:, None] + 100)
    high = one.index()["a"]
    one.update(np.full(5000, -1e6), then[:, None])  # as much again, normal: half of all
    half = one.index()["a"]
    assert half < high
    for day in range(1, 15):
        one.update(np.full(5000, day * 86_400.0), then[:, None])
    assert one.index()["a"] < 0.05 < half


def test_a_large_batch_is_sampled_and_weighs_what_it_is():
    then = np.random.default_rng(1).standard_normal(5000).astype(np.float32)
    one = Drift(["a"], [Reference.of(then)])
    one.update(np.zeros(100_000), np.tile(then, 20)[:, None])
    assert one.index()["a"] < 0.1
    one.update(np.zeros(256), np.full((256, 1), 100, np.float32))
    assert one.index()["a"] < 0.2  # 256 of 100,256 rows


def card(**more):
    told = {"contract": 1, "name": "m", "version": "1", "window": 8, "channels": ["a", "b"]} | more
    return cards.read(json.dumps(told), "m.onnx")


def test_what_the_file_does_not_tell_is_not_compared_with():
    assert drift.of_inputs(card()) is None
    assert drift.of_scores(card()) is None
    scores = np.random.default_rng(0).random(500).tolist()
    known = card(
        calibration={"segments": [scores[:250], scores[250:]]},
        inputs=[{"edges": [0, 1], "shares": [0, 1, 0]}, {"edges": [3], "shares": [0.5, 0.5]}],
    )
    of_inputs, of_scores = drift.of_inputs(known), drift.of_scores(known)
    for _ in range(10):  # both rows have their turn
        of_inputs.update(np.zeros(2000), np.tile(np.float32([[0.5, 2.0], [0.7, 4.0]]), (1000, 1)))
    of_scores.update(np.zeros(2000), np.random.default_rng(1).random((2000, 1)).astype(np.float32))
    assert of_inputs.index() == pytest.approx({"a": 0, "b": 0}, abs=1e-3)
    assert of_scores.index()["score"] < 0.2


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ([{"edges": [1], "shares": [1, 0]}], "one for each of 2 channels"),
        ([{"edges": [1], "shares": [1]}] * 2, "an edge more"),
        ([{"edges": [2, 1], "shares": [1, 0, 0]}] * 2, "increasing numbers"),
        ([{"edges": [], "shares": [1]}] * 2, "inputs"),
        ([{"edges": [1], "shares": [2, 0]}] * 2, "inputs"),
    ],
)
def test_inputs_that_are_none_are_refused(inputs, said):
    with pytest.raises(ModelError, match=said):
        card(inputs=inputs)


def test_a_plant_that_moved_is_seen_in_the_daemons_metrics(tmp_path):
    rng = np.random.default_rng(2)
    then = rng.standard_normal(2000).astype(np.float32)
    scores = np.abs(then).reshape(-1, 4).mean(axis=1)
    model = models.mean_abs(
        tmp_path,
        window=4,
        calibration={"hop": 1, "segments": [scores.tolist()]},
        inputs=[dataclasses.asdict(Reference.of(then))],
    )
    payload = '{ format = "json", values = "v", t0 = "t0", dt = "dt" }'
    streams = stream("same", model, "same/+", payload) + stream("moved", model, "moved/+", payload)
    with (
        Mosquitto(tmp_path) as broker,
        Daemon(tmp_path, broker.port, streams) as daemon,
        Peer(broker) as peer,
    ):
        daemon.ready()
        assert "anomalyd_score_drift{" not in daemon.get("/metrics")[1]
        now = rng.standard_normal(2500)
        for name, values in (("same", now), ("moved", now + 2)):
            peer.publish(f"{name}/a", json.dumps({"t0": 1.7e9, "dt": 1.0, "v": values.tolist()}))
            daemon.wait_metric("windows_scored_total", 2497, stream=name)
        daemon.wait_metric("score_drift", 0.5, stream="moved")
        assert daemon.metric("input_drift", stream="moved") > 1
        assert daemon.metric("input_drift", stream="same") < 0.1
        assert daemon.metric("score_drift", stream="same") < 0.2
