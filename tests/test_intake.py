"""A drain of messages becomes samples by stream; what cannot is refused with its reason and never costs the others."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.config import Limits, Stream
from daemon.core.roster import Roster
from daemon.errors import REJECT_REASONS, BadMessage, ConfigError
from daemon.wire import intake as intake_module
from daemon.wire.inbox import Drain
from daemon.wire.intake import Decoded, Intake, way
from daemon.wire.payload import decoder
from daemon.wire.topics import Router

NUMBER = {"format": "number"}
JSON = {"format": "json", "value": "v", "time": "ts"}
BLOCK = {"format": "binary", "dtype": "int16"}


class Room:
    """An intake with a roster for each stream."""

    def __init__(self, *streams: dict, max_sensors: int = 100, prefix: str = "anomaly", channels: int = 1) -> None:
        self.streams = [Stream(name=f"s{at}", model="m", **keys) for at, keys in enumerate(streams)]
        self.rosters = [Roster(max_sensors) for _ in streams]
        limits = Limits(max_sensors=max_sensors, max_rows=8)
        ways = [
            way(stream, channels, limits, roster.admit)
            for stream, roster in zip(self.streams, self.rosters, strict=True)
        ]
        self.intake = Intake(Router(self.streams, prefix), ways)

    def decode(self, *messages: tuple, oversized: tuple = ()) -> Decoded:
        """messages: (topic, payload) or (topic, payload, retained); message i arrives at i on both clocks."""
        return self.intake.decode(drain(*messages, oversized=oversized))

    def samples(self, decoded: Decoded, stream: int = 0) -> list[tuple]:
        """Return a stream's samples as (sensor, t, first value)."""
        found = decoded.samples[stream]
        if found is None:
            return []
        names = [self.rosters[stream].names[slot] for slot in found.sensor]
        return list(zip(names, found.t.tolist(), found.values[:, 0].tolist(), strict=True))


def drain(*messages: tuple, oversized: tuple = ()) -> Drain:
    n = len(messages)
    return Drain(
        [message[0] for message in messages],
        [message[1] for message in messages],
        [len(message) > 2 and message[2] for message in messages],
        [float(at) for at in range(n)],
        [1000.0 + at for at in range(n)],
        [],
        list(oversized),
    )


def stream(topics: str = "p/+", payload: dict = NUMBER, **keys) -> dict:
    return {"topics": [topics], "sensor": "{2}", "payload": payload} | keys


def test_messages_become_samples_of_their_sensors_in_arrival_order():
    room = Room(stream())
    decoded = room.decode(("p/a", b"1"), ("p/b", b"2"), ("p/a", b"3"))
    assert room.samples(decoded) == [("a", 1000.0, 1.0), ("b", 1001.0, 2.0), ("a", 1002.0, 3.0)]
    assert decoded.samples[0].arrived.tolist() == [0.0, 1.0, 2.0]
    assert (decoded.messages["s0"], decoded.payload_bytes["s0"], decoded.rejected) == (3, 3, {})


def test_streams_on_one_topic_each_take_the_message_their_own_way():
    room = Room(stream("+/+"), stream("p/+", JSON, sensor="{1}-{2}"), stream("q/#"))
    payload = json.dumps({"v": 5, "ts": 7}).encode()
    decoded = room.decode(("p/a", payload), ("p/a", b"6"), ("q/b", b"8"))
    assert room.samples(decoded, 0) == [("a", 1001.0, 6.0), ("b", 1002.0, 8.0)]
    assert room.samples(decoded, 1) == [("p-a", 7.0, 5.0)]
    assert room.samples(decoded, 2) == [("b", 1002.0, 8.0)]
    assert decoded.rejected == {("s0", "not-number"): 1, ("s1", "wrong-type"): 1}
    assert decoded.messages == {"s0": 3, "s1": 2, "s2": 1}


def test_two_topics_of_one_sensor_share_its_slot():
    room = Room(stream("+/+"))
    decoded = room.decode(("x/a", b"1"), ("y/a", b"2"))
    assert decoded.samples[0].sensor.tolist() == [0, 0]


def test_blocks_end_at_their_arrival_an_interval_apart():
    room = Room(stream(payload=BLOCK, interval_s=0.5))
    decoded = room.decode(("p/a", np.array([1, 2, 3], "<i2").tobytes()), ("p/b", np.array([4], "<i2").tobytes()))
    assert room.samples(decoded) == [("a", 999.0, 1.0), ("a", 999.5, 2.0), ("a", 1000.0, 3.0), ("b", 1001.0, 4.0)]
    assert decoded.samples[0].arrived.tolist() == [0.0, 0.0, 0.0, 1.0]


def test_a_retained_message_without_a_time_is_no_sample():
    room = Room(stream())
    decoded = room.decode(("p/a", b"1", True), ("p/a", b"2"), ("p/b", b"3", True))
    assert room.samples(decoded) == [("a", 1001.0, 2.0)]
    assert decoded.rejected == {("s0", "retained"): 2}
    assert "b" not in room.rosters[0]
    assert [refused.sensor for refused in decoded.refused] == ["a", "b"]


def test_a_retained_message_with_a_time_is_a_sample():
    room = Room(stream(payload=JSON))
    decoded = room.decode(("p/a", b'{"v": 1, "ts": 5}', True))
    assert room.samples(decoded) == [("a", 5.0, 1.0)]


def test_a_newcomer_beyond_the_limit_is_refused_and_nobody_is_evicted():
    room = Room(stream(), max_sensors=2)
    decoded = room.decode(("p/a", b"1"), ("p/b", b"2"), ("p/c", b"3"), ("p/a", b"4"), ("p/c", b"5"))
    assert [sample[0] for sample in room.samples(decoded)] == ["a", "b", "a"]
    assert decoded.rejected == {("s0", "sensor-limit"): 2}
    assert decoded.refused[0].sensor == "c"


def test_a_bad_message_admits_nobody():
    room = Room(stream(), max_sensors=1)
    room.decode(("p/bad", b"x"), ("p/worse", b""))
    assert room.samples(room.decode(("p/good", b"1"))) == [("good", 1000.0, 1.0)]


def test_once_there_is_room_again_the_refused_sensor_comes_in():
    room = Room(stream(), max_sensors=1)
    room.decode(("p/a", b"1"), ("p/b", b"2"))
    room.rosters[0].evict([0])
    room.intake.forget()
    assert room.samples(room.decode(("p/b", b"3"))) == [("b", 1000.0, 3.0)]
    assert room.samples(room.decode(("p/a", b"3"))) == []


def test_what_was_oversized_is_refused_for_every_stream_it_would_have_fed():
    room = Room(stream(), stream("p/#"))
    decoded = room.decode(("p/a", b"1"), oversized=[("p/a", 10**6), ("nobody", 10**6)])
    assert decoded.rejected == {("s0", "too-large"): 1, ("s1", "too-large"): 1, ("", "no-stream"): 1}
    assert decoded.messages == {"s0": 2, "s1": 2}
    assert len(room.samples(decoded)) == 1


def test_topics_that_feed_nobody_are_refused_with_their_reason():
    room = Room(stream("#", sensor="{2}"))
    decoded = room.decode(("anomaly/score/s0/a", b"1"), ("short", b"1"), ("p/a", b"1"), ("anomaly/x", b"1"))
    assert decoded.rejected == {("", "own-output"): 2, ("", "sensor-name"): 1}
    assert room.samples(decoded) == [("a", 1002.0, 1.0)]
    assert decoded.messages == {"s0": 1}


def test_an_empty_drain_gives_nothing():
    room = Room(stream())
    decoded = room.decode()
    assert (decoded.samples, decoded.rejected, decoded.messages) == ([None], {}, {})


def test_a_drain_of_retained_messages_only_gives_nothing():
    assert Room(stream()).decode(("p/a", b"1", True)).samples == [None]


def test_only_the_first_refusals_of_a_drain_are_told_one_by_one():
    room = Room(stream())
    decoded = room.decode(*[(f"p/{at}", b"x") for at in range(500)])
    assert decoded.rejected == {("s0", "not-number"): 500}
    assert len(decoded.refused) == intake_module.MOST_DETAILS


def test_a_flood_of_topics_is_forgotten_and_changes_nothing(monkeypatch):
    monkeypatch.setattr(intake_module, "MOST_TOPICS", 10)
    monkeypatch.setattr(intake_module, "MOST_REFUSED", 10)
    room = Room(stream(), max_sensors=5)
    for turn in range(40):
        decoded = room.decode(("p/a", b"1"), (f"p/{turn}", b"x"), (f"q/{turn}", b"1"), ("p/a", b"2"))
        assert [sample[0] for sample in room.samples(decoded)] == ["a", "a"]
        assert decoded.rejected == {("s0", "not-number"): 1, ("", "no-stream"): 1}
        assert len(room.intake._homes) <= 10
        assert len(room.intake._shared[0]) <= 10
        assert len(room.intake._unroutable) <= 10


def test_a_sensor_that_was_evicted_gets_a_slot_anew():
    room = Room(stream(), stream("q/+"), stream("+/b"))
    messages = [("p/a", b"1"), ("q/b", b"2"), ("p/b", b"3"), ("p/c", b"4")]
    room.decode(*messages)
    room.rosters[0].evict([room.rosters[0].slot("a"), room.rosters[0].slot("b")])
    room.intake.forget()
    decoded = room.decode(*reversed(messages))
    assert [sample[0] for sample in room.samples(decoded)] == ["c", "b", "a"]
    assert [sample[0] for sample in room.samples(decoded, 2)] == ["b", "b"]
    assert room.rosters[0].slot("a") != room.rosters[0].slot("b")


def test_topics_of_any_length_are_routed_and_long_ones_not_remembered():
    room = Room(stream("#", sensor="{2}"))
    long = "p/a/" + "x" * 5000
    for _ in range(2):
        assert room.samples(room.decode((long, b"1"))) == [("a", 1000.0, 1.0)]
        assert room.decode(("x" * 5000, b"1")).rejected == {("", "sensor-name"): 1}
    assert not room.intake._homes
    assert not room.intake._shared[0]
    assert not room.intake._unroutable


def test_a_payload_that_cannot_fill_the_models_channels_names_its_stream():
    with pytest.raises(ConfigError, match=r"stream\.s0\.payload\.format"):
        Room(stream(), channels=3)


TOPICS = st.sampled_from(["p/a", "p/b", "p/c", "q/a", "r/a", "r/b", "anomaly/score/x/y", "p", "other"])
PAYLOADS = st.sampled_from([b"1", b"2.5", b"", b"x", b'{"v":3,"ts":4}', b'{"v":1}', b"\x01\x00\x02\x00", b"1e300"])
MESSAGES = st.lists(st.tuples(TOPICS, PAYLOADS, st.booleans()), max_size=12)


@given(drains=st.lists(MESSAGES, max_size=3), forget=st.booleans())
def test_a_drain_gives_what_its_messages_give_one_by_one(drains, forget):
    """The obvious twin: each message routed, decoded and admitted by itself."""
    streams = [stream("p/+"), stream("+/+", JSON), stream("q/#", BLOCK)]
    room, twin = Room(*streams, max_sensors=2), Room(*streams, max_sensors=2)
    router = Router(twin.streams, "anomaly")
    forms = [decoder(one.payload, 1, 8, one.interval_s) for one in twin.streams]
    for messages in drains:
        decoded = room.decode(*messages)
        expected, rejected = [[], [], []], {}
        for at, (topic, payload, retained) in enumerate(messages):
            try:
                route = router.route(topic)
            except BadMessage as error:
                rejected["", error.reason] = rejected.get(("", error.reason), 0) + 1
                continue
            for number, sensor in route:
                try:
                    if retained and not twin.streams[number].timed:
                        raise BadMessage("retained", "")
                    rows = forms[number].decode(payload)
                    if twin.rosters[number].admit(sensor) < 0:
                        raise BadMessage("sensor-limit", "")
                except BadMessage as error:
                    key = (f"s{number}", error.reason)
                    rejected[key] = rejected.get(key, 0) + 1
                    continue
                for t, value in zip(rows.t.tolist(), rows.values[:, 0].tolist(), strict=True):
                    expected[number].append((sensor, 1000.0 + at if t != t else t, value))
        assert [room.samples(decoded, number) for number in range(3)] == expected
        assert decoded.rejected == rejected
        assert {reason for _, reason in decoded.rejected} <= set(REJECT_REASONS)
        if forget:  # what was remembered of topics must not matter
            room.intake.forget()
