from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.core.alarms import Alarms
from daemon.core.calibration import Calibration
from daemon.core.findings import find
from daemon.core.records import (
    ALARM,
    CLEARED,
    LATCHED,
    LATCHED_NOW,
    NO_CHANGE,
    NORMAL,
    RAISED,
    REGIME_CHANGED,
    Alarm,
    Outputs,
    Verdicts,
)
from tests.naive.alarms import Event, Life

NAMES = ["pump/1", "pump/2", "pump/3"]
CLASSES = ("normal", "leak", "cavitation")


def fresh(**given: object) -> Alarms:
    options: dict[str, object] = {
        "stream": "vibration",
        "model": "m1",
        "classes": CLASSES,
        "normal_class": "normal",
        "channels": ("x", "y", "z"),
        "window": 8,
        "cool_down_s": 0.0,
        "stale": True,
    }
    return Alarms(len(NAMES), **{**options, **given})  # type: ignore[arg-type]


def step(
    alarms: Alarms,
    rows: list[tuple[float, float, int, int]],
    sensor: int | list[int] = 0,
    outputs: Outputs | None = None,
) -> list[Alarm]:
    """Feed rows (t, score, state, change)."""
    t, score, state, change = (np.array(column) for column in zip(*rows, strict=True))
    slots = np.broadcast_to(np.array(sensor, np.int32), len(rows))
    raw = score.astype(np.float32)
    verdicts = Verdicts(score.astype(np.float64), state.astype(np.int8), change.astype(np.int8))
    return alarms.step(slots, t.astype(np.float64), verdicts, raw, outputs or Outputs(raw), NAMES)


def at(*values: float) -> np.ndarray:
    return np.array(values, np.float64)


def slots(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def told(events: list[Alarm]) -> list[tuple[str, str]]:
    return [(event.state, event.reason) for event in events]


ON, STAY, OFF = (ALARM, RAISED), (ALARM, NO_CHANGE), (NORMAL, CLEARED)


def test_an_alarm_is_raised_at_its_onset_and_cleared_with_its_peak():
    alarms = fresh()
    (raised,) = step(alarms, [(10, 1.5, *ON)])
    assert raised == replace(raised, state="raised", reason="score", since=10, until=None, score=1.5, peak=1.5)
    assert (raised.stream, raised.sensor, raised.model) == ("vibration", "pump/1", "m1")
    assert alarms.active == 1
    (cleared,) = step(alarms, [(11, 1.8, *STAY), (12, 1.2, *STAY), (13, 0.4, *OFF)])
    assert cleared == replace(cleared, id=raised.id, state="cleared", reason="score", since=10, until=13, peak=1.8)
    assert cleared.score == 0.4
    assert alarms.active == 0
    assert alarms.raised_total == {"score": 1, "stale": 0}


def test_normal_rows_tell_nothing():
    assert step(fresh(), [(1, 0.5, NORMAL, NO_CHANGE), (2, np.nan, NORMAL, NO_CHANGE)]) == []


def test_an_update_is_told_when_the_peak_has_doubled_since_it_was_last_told():
    alarms = fresh()
    step(alarms, [(0, 1.5, *ON)])
    events = step(alarms, [(t, score, *STAY) for t, score in enumerate([2.9, 3.0, 2.0, 5.9, 6.0, 7.0], 1)])
    assert [(event.state, event.score, event.peak) for event in events] == [
        ("updated", 3.0, 3.0),
        ("updated", 6.0, 6.0),
    ]


def test_a_latched_alarm_is_updated_once_and_stays_open():
    alarms = fresh()
    events = step(alarms, [(0, 1.5, *ON), (1, 1.4, LATCHED, LATCHED_NOW), (2, 1.4, LATCHED, NO_CHANGE)])
    assert told(events) == [("raised", "score"), ("updated", "latched")]
    assert alarms.active == 1


def test_a_new_normal_clears_with_its_own_reason():
    events = step(fresh(), [(0, 1.5, *ON), (1, 1.7, NORMAL, REGIME_CHANGED)])
    assert told(events) == [("raised", "score"), ("cleared", "regime changed")]
    assert events[1].peak == 1.7


def test_an_id_is_the_same_in_a_replay_and_differs_by_stream_sensor_and_onset():
    def first(sensor: int = 0, t: float = 5.0, **given: object) -> str:
        return step(fresh(**given), [(t, 2.0, *ON)], sensor)[0].id

    assert first() == first(cool_down_s=9.0)
    assert len({first(), first(sensor=1), first(t=5.25), first(stream="other")}) == 4


def test_an_onset_within_the_cool_down_continues_the_old_alarm():
    alarms = fresh(cool_down_s=10.0)
    first = step(alarms, [(0, 3.0, *ON), (5, 0.2, *OFF)])
    (again,) = step(alarms, [(15, 2.0, *ON)])
    assert again == replace(first[0], score=2.0, peak=3.0)
    assert alarms.raised_total["score"] == 1
    step(alarms, [(20, 0.2, *OFF)])
    (other,) = step(alarms, [(30.5, 2.0, *ON)])
    assert (other.since, other.peak) == (30.5, 2.0)
    assert other.id != again.id
    assert alarms.raised_total["score"] == 2


def test_time_that_went_back_does_not_continue_an_alarm():
    alarms = fresh(cool_down_s=10.0)
    step(alarms, [(100, 3.0, *ON), (105, 0.2, *OFF)])
    assert step(alarms, [(50, 2.0, *ON)])[0].since == 50


def test_silence_is_an_alarm_of_its_own_until_data_is_back():
    alarms = fresh()
    (raised,) = alarms.stale(slots(1), at(60), NAMES)
    assert raised == replace(raised, state="raised", reason="stale", sensor="pump/2", since=60, until=None)
    assert (raised.score, raised.peak, raised.label, raised.part) == (None, None, None, None)
    assert alarms.stale(slots(1), at(70), NAMES) == []
    (cleared,) = alarms.fresh(slots(0, 1), at(80, 80), NAMES)
    assert cleared == replace(raised, state="cleared", reason="data is back", until=80)
    assert alarms.active == 0
    assert alarms.raised_total == {"score": 0, "stale": 1}


def test_silence_first_clears_an_open_alarm_and_a_sensor_still_abnormal_is_raised_again():
    alarms = fresh()
    (first,) = step(alarms, [(0, 2.0, *ON)])
    events = alarms.stale(slots(0), at(60), NAMES)
    assert told(events) == [("cleared", "stale"), ("raised", "stale")]
    assert events[0].id == first.id
    alarms.fresh(slots(0), at(100), NAMES)
    (again,) = step(alarms, [(100, 1.5, *STAY)])
    assert (again.state, again.since) == ("raised", 100)
    assert again.id != first.id


def test_where_silence_is_no_alarm_an_open_alarm_stays_open():
    alarms = fresh(stale=False)
    step(alarms, [(0, 2.0, *ON)])
    assert alarms.stale(slots(0), at(60), NAMES) == []
    assert alarms.active == 1


def test_a_forgotten_sensor_leaves_nothing_open_and_nothing_to_continue():
    alarms = fresh(cool_down_s=100.0)
    (first,) = step(alarms, [(0, 2.0, *ON)])
    alarms.stale(slots(1), at(5), NAMES)
    events = alarms.forget(slots(0, 1, 2), at(6, 6, 6), NAMES)
    assert told(events) == [("cleared", "forgotten"), ("cleared", "forgotten")]
    assert alarms.active == 0
    assert step(alarms, [(7, 2.0, *ON)])[0].id != first.id


def test_who_asks_for_open_alarms_gets_them_and_changes_nothing():
    asked, left = fresh(), fresh()
    for alarms in (asked, left):
        step(alarms, [(0, 1.5, *ON), (1, 2.5, *STAY)])
        alarms.stale(slots(1), at(2), NAMES)
    found = asked.open(NAMES)
    assert [(event.sensor, event.state, event.since, event.peak) for event in found] == [
        ("pump/1", "raised", 0.0, 2.5),
        ("pump/2", "raised", 2.0, None),
    ]
    assert step(asked, [(3, 3.5, *STAY)]) == step(left, [(3, 3.5, *STAY)]) != []


def test_a_stop_clears_with_its_own_reason():
    alarms = fresh()
    step(alarms, [(0, 2.0, *ON)])
    assert told(alarms.forget(slots(0), at(6), NAMES, reason="stopped")) == [("cleared", "stopped")]


def test_class_channel_and_part_are_those_of_the_peak():
    alarms = fresh()
    outputs = Outputs(
        score=np.zeros(3, np.float32),
        class_probability=np.array([[0.9, 0.06, 0.04], [0.2, 0.2, 0.6], [0.1, 0.9, 0.0]], np.float32),
        channel_score=np.array([[1, 2, 3], [5, 2, 3], [1, 2, 3]], np.float32),
        time_score=np.array([[1, 0, 0, 0], [0, 6, 9, 0], [1, 1, 1, 1]], np.float32),
    )
    events = step(alarms, [(0, 1.5, *ON), (1, 9.0, *STAY), (2, 0.1, *OFF)], outputs=outputs)
    assert [event.label for event in events] == ["leak", "cavitation", "cavitation"]
    assert [event.label_confidence for event in events] == pytest.approx([0.6, 0.75, 0.75])
    assert [event.channel for event in events] == ["z", "x", "x"]
    assert [event.part for event in events] == [(0, 0), (1, 2), (1, 2)]


def test_a_model_without_further_outputs_says_nothing_and_a_single_channel_is_named():
    (event,) = step(fresh(), [(0, 2.0, *ON)])
    assert (event.label, event.label_confidence, event.channel, event.part) == (None, None, None, None)
    (event,) = step(fresh(channels=("x",)), [(0, 2.0, *ON)])
    assert event.channel == "x"


@given(st.lists(st.lists(st.integers(0, 4), min_size=6, max_size=6), min_size=1, max_size=5))
def test_the_part_is_the_stretch_above_half_of_the_largest(scores: list[list[int]]):
    score = np.array(scores, np.float32)
    found = find(Outputs(np.zeros(len(score), np.float32), time_score=score), np.arange(len(score)), [], 2)
    for row, first, last in zip(scores, found.first.tolist(), found.last.tolist(), strict=True):
        best = row.index(max(row))
        if max(row) == 0:
            assert (first, last) == (-1, -1)
            continue
        low = high = best
        while low > 0 and row[low - 1] > max(row) / 2:
            low -= 1
        while high < 5 and row[high + 1] > max(row) / 2:
            high += 1
        assert (first, last) == (low, high)


def test_outputs_that_are_not_finite_say_nothing():
    bad = np.full((1, 3), np.nan, np.float32)
    found = find(Outputs(np.zeros(1, np.float32), bad, bad, bad), np.arange(1), [1, 2], 3)
    assert (found.label[0], found.channel[0], found.first[0]) == (-1, -1, -1)


ROW = st.tuples(
    st.integers(0, 2),
    st.sampled_from([np.nan, 0.0, 0.5, 1.1, 1.2, 2.5, 6.0, 30.0]),
    st.sampled_from([NORMAL, ALARM, LATCHED]),
    st.sampled_from([NO_CHANGE, RAISED, CLEARED, LATCHED_NOW, REGIME_CHANGED]),
)
ACTION = st.one_of(
    st.tuples(st.just("rows"), st.lists(ROW, min_size=1, max_size=12)),
    st.tuples(st.sampled_from(["stale", "fresh", "forget"]), st.lists(st.integers(0, 2), unique=True, max_size=3)),
)


@settings(max_examples=100, deadline=None)
@given(actions=st.lists(ACTION, max_size=12), cool_down_s=st.sampled_from([0.0, 4.0]))
def test_whatever_the_verdicts_events_are_those_of_the_slow_twin_and_each_id_is_raised_updated_and_cleared(
    actions: list[tuple[str, list[object]]], cool_down_s: float
):
    alarms = fresh(cool_down_s=cool_down_s)
    twins = [Life(cool_down_s) for _ in NAMES]
    got: list[Alarm] = []
    expected: list[tuple[str, Event]] = []
    number, t = 0, 0.0
    for action, items in [*actions, ("forget", [0, 1, 2])]:
        if action == "rows":
            table = np.array(items)
            n = len(items)
            numbers = np.arange(number, number + n)
            # the peak's window is recognised by its part: one hot row of time_score, numbered
            time_score = np.eye(200, dtype=np.float32)[numbers]
            got += step(
                alarms,
                [(t + i, *row[1:]) for i, row in enumerate(items)],  # type: ignore[misc]
                table[:, 0].astype(int).tolist(),
                Outputs(np.zeros(n, np.float32), time_score=time_score),
            )
            for i, (sensor, score, state, change) in enumerate(items):  # type: ignore[misc]
                expected += [(NAMES[sensor], e) for e in twins[sensor].row(number + i, t + i, score, state, change)]
            number, t = number + n, t + n
        else:
            which = np.array(items, np.int32)
            got += getattr(alarms, action)(which, np.full(len(items), t), NAMES)
            for sensor in items:
                expected += [(NAMES[sensor], e) for e in getattr(twins[sensor], action)(t)]  # type: ignore[call-overload]
            t += 1
    assert [(e.sensor, e.state, e.reason, e.since, e.until, e.peak, e.part and e.part[0]) for e in got] == [
        (name, e.state, e.reason, e.since, e.until, e.peak, e.window) for name, e in expected
    ]
    assert alarms.active == 0
    assert alarms.raised_total["score"] == sum(twin.new for twin in twins)
    open_id: dict[str, str] = {}
    for event in got:
        if event.state == "raised":
            assert event.sensor not in open_id
            open_id[event.sensor] = event.id
        elif event.state == "cleared":
            assert open_id.pop(event.sensor) == event.id
        else:
            assert open_id[event.sensor] == event.id
    assert not open_id


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), cut=st.integers(1, 50))
def test_events_do_not_depend_on_how_rows_were_batched(seed: int, cut: int):
    rng = np.random.default_rng(seed)
    n, sensors = 400, len(NAMES)
    scores = np.exp(0.2 * rng.standard_normal((n, sensors)))
    for _ in range(4):
        start = rng.integers(40, n)
        scores[start : start + rng.integers(1, 60), rng.integers(sensors)] *= 50
    raw = scores.astype(np.float32).ravel()
    sensor = np.tile(np.arange(sensors, dtype=np.int32), n)
    t = np.repeat(np.arange(n, dtype=np.float64), sensors)

    def events(size: int) -> list[Alarm]:
        calibration = Calibration(sensors, window=8, hop=1, budget_per_point=1e-3)
        calibration.reset(np.arange(sensors, dtype=np.int32))
        alarms = fresh()
        out = []
        for begin in range(0, len(raw), size):
            rows = slice(begin, begin + size)
            verdicts = calibration.update(sensor[rows], raw[rows])
            out += alarms.step(sensor[rows], t[rows], verdicts, raw[rows], Outputs(raw[rows]), NAMES)
        return out

    whole = events(len(raw))
    assert whole == events(cut)
    assert {event.state for event in whole} >= {"raised"}
