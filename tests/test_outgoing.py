"""What subscribers read is what was scored, to the last digit."""

from __future__ import annotations

import json
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from daemon.core.records import NORMAL, Alarm, Scored, SensorState
from daemon.wire import outgoing
from daemon.wire.outgoing import ScoreWriter

CLASSES = ["normal", 'stuck "hard"', "Überlauf"]


def scored(sensor: list[int], t: list[float], score: list[float], raw: list[float], label: list[int]) -> Scored:
    n = len(sensor)
    return Scored(
        np.array(sensor, np.int32),
        np.array(t, np.float64),
        np.zeros(n),
        np.array(raw, np.float32),
        np.array(score, np.float64),
        np.full(n, NORMAL, np.int8),
        np.array(label, np.int32),
    )


def strict(payload: bytes) -> dict[str, object]:
    """JSON as the standard has it: without NaN and Infinity."""

    def no_json(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(payload, parse_constant=no_json)


def known(number: float) -> float | None:
    return number if math.isfinite(number) else None


ROWS = st.tuples(
    st.integers(0, 3),
    st.floats(0, 1e11, exclude_max=True),
    st.floats(0) | st.just(math.nan),
    st.floats(width=32),
    st.integers(-1, len(CLASSES) - 1),
)
NAMES = st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), min_size=4, max_size=4)


@given(rows=st.lists(ROWS, max_size=20), names=NAMES)
def test_a_score_message_says_exactly_what_was_scored(rows, names):
    columns = [list(column) for column in zip(*rows, strict=True)] or [[]] * 5
    topics, payloads = ScoreWriter("line 1", "net", CLASSES, "plant/anomaly").write(scored(*columns), names)
    assert topics == [f"plant/anomaly/score/line 1/{names[sensor]}" for sensor, *_ in rows]
    assert [strict(payload) for payload in payloads] == [
        {
            "stream": "line 1",
            "sensor": names[sensor],
            "timestamp": t,
            "score": known(score),
            "raw": known(raw),
            "class": CLASSES[label] if label >= 0 else None,
            "model": "net",
        }
        for sensor, t, score, raw, label in rows
    ]


def test_only_the_chosen_rows_are_written():
    writer = ScoreWriter("s", "m", [], "anomaly")
    batch = scored([0, 1, 0], [1.0, 2.0, 3.0], [0.1, 0.2, 0.3], [1, 2, 3], [-1, -1, -1])
    topics, payloads = writer.write(batch, ["a", "b"], np.array([0, 2]))
    assert topics == ["anomaly/score/s/a"] * 2
    assert [strict(payload)["timestamp"] for payload in payloads] == [1.0, 3.0]
    assert writer.write(batch, ["a", "b"], np.array([], np.int64)) == ([], [])


def test_a_slot_that_was_evicted_speaks_for_its_new_sensor():
    writer = ScoreWriter("s", "m", [], "anomaly")
    batch = scored([0], [1.0], [0.1], [1], [-1])
    assert writer.write(batch, ["old"])[0] == ["anomaly/score/s/old"]
    writer.forget()
    topics, payloads = writer.write(batch, ["new"])
    assert topics == ["anomaly/score/s/new"]
    assert strict(payloads[0])["sensor"] == "new"


def test_an_alarm_message_has_the_documented_fields_in_their_order():
    event = Alarm(
        id="a1", state="raised", reason="score", stream="s", sensor="x", since=1700000000.1, until=None, score=math.nan,
        peak=2.5, label="stuck", label_confidence=0.75, channel="p", part=(3, 9), model="m",
    )  # fmt: skip
    assert list(strict(outgoing.alarm(event)).items()) == [
        ("id", "a1"),
        ("state", "raised"),
        ("reason", "score"),
        ("stream", "s"),
        ("sensor", "x"),
        ("since", 1700000000.1),
        ("until", None),
        ("score", None),
        ("peak", 2.5),
        ("class", "stuck"),
        ("class_confidence", 0.75),
        ("channel", "p"),
        ("part", [3, 9]),
        ("model", "m"),
    ]


def test_a_state_message_says_how_far_a_sensor_is():
    said = strict(outgoing.state(SensorState("s", "x", "warming", "the window has 3 of 64 rows", 3, 64), 1700000000.5))
    assert said == {
        "stream": "s", "sensor": "x", "state": "warming", "reason": "the window has 3 of 64 rows", "have": 3,
        "need": 64, "since": 1700000000.5,
    }  # fmt: skip
    live = strict(outgoing.state(SensorState("s", "x", "live", "scored"), 1.0))
    assert (live["have"], live["need"]) == (None, None)
