"""Packets: cut anywhere, they give the same messages as paho's own parser; nonsense raises one error, and no other."""

from __future__ import annotations

import contextlib
import itertools
import struct
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt import client as paho

from daemon.config import Mqtt
from daemon.wire.client import Lost
from daemon.wire.inbox import Ack, Batch
from daemon.wire.mqtt import _Client
from daemon.wire.packets import Framer, MalformedError, Reader


class Publish(NamedTuple):
    topic: str
    payload: bytes
    qos: int
    retain: bool
    packet_id: int
    properties: bytes  # MQTT 5, without their length


def varint(length):
    out = b""
    while True:
        length, low = divmod(length, 128)
        out += bytes([low | (128 if length else 0)])
        if not length:
            return out


def encode(message, v5):
    """The packet as the specification writes it down."""
    topic = message.topic.encode()
    rest = struct.pack("!H", len(topic)) + topic
    rest += struct.pack("!H", message.packet_id) if message.qos else b""
    rest += varint(len(message.properties)) + message.properties if v5 else b""
    rest += message.payload
    return bytes([0x30 | message.qos << 1 | message.retain]) + varint(len(rest)) + rest


def reader(v5=False, limit=10**6, fresh=lambda packet_id: True):
    result = Reader(v5=v5, max_payload_bytes=limit, fresh=fresh)
    result.reset(1)
    return result


def read(source, pieces):
    """Feed pieces; return all messages, and the control packets."""
    batch, control = Batch(), []
    for piece in pieces:
        source.feed(piece)
        while (packet := source.take(batch)) is not None:
            control.append(packet)
    return batch, control


def cut(data, places):
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


class Stock(paho.Client):
    """paho as it comes, its socket replaced by pieces of bytes."""

    def __init__(self, pieces, v5):
        super().__init__(
            paho.CallbackAPIVersion.VERSION2, client_id="x", protocol=paho.MQTTv5 if v5 else paho.MQTTv311,
            manual_ack=True,
        )  # fmt: skip
        self.pieces = list(pieces)
        self.messages = []
        self.on_message = lambda _c, _u, m: self.messages.append((m.topic, m.payload, bool(m.retain), m.qos, m.mid))

    def _sock_recv(self, bufsize):
        if not self.pieces:
            raise BlockingIOError
        piece = self.pieces[0]
        self.pieces[0] = piece[bufsize:]
        if not self.pieces[0]:
            self.pieces.pop(0)
        return piece[:bufsize]

    def run(self):
        while self.pieces:
            assert self._packet_read() <= 0
        self._packet_read()  # paho pauses after 100 pieces of a packet, even where the hundredth was its last
        return self.messages


TOPIC = st.sampled_from(["t", "plant/a/b", "é" * 70, "x" * 200, "y" * 300]) | st.text(
    st.characters(exclude_characters="\x00+#", exclude_categories=["Cs"]), min_size=1, max_size=6
)
PAYLOAD = st.binary(max_size=20) | st.integers(0, 20_000).map(lambda size: b"z" * size)
USER_PROPERTIES = st.sampled_from([b"", b"", b"\x26\0\1a\0\1b", b"\x02\0\0\0\x3c", b"\x26\0\1a\0\xc8" + b"v" * 200])


def messages(qos):
    return st.builds(Publish, TOPIC, PAYLOAD, qos, st.booleans(), st.integers(1, 65535), USER_PROPERTIES)


CONTROL = st.sampled_from(
    [b"\xd0\0", b"\x40\x02\0\7", b"\x90\x03\0\7\1", b"\xb0\x02\0\x07", b"\x62\x02\0\7", b"\x20\x02\0\0"]
)
CUTS = st.lists(st.integers(0, 10**6), max_size=12)


@settings(max_examples=150, deadline=None)
@given(sent=st.lists(messages(st.integers(0, 1)), max_size=12), cuts=CUTS, v5=st.booleans(), every=st.booleans())
def test_a_stream_cut_anywhere_gives_the_messages_that_stock_paho_gives(sent, cuts, v5, every):
    data = b"".join(encode(message, v5) for message in sent)
    small = every and len(data) < 2000
    pieces = [data[i : i + 1] for i in range(len(data))] if small else cut(data, cuts)
    batch, control = read(reader(v5), pieces)
    ours = [
        (
            topic,
            payload,
            place in batch.retained,
            ack.qos if (ack := batch.acks.get(place)) else 0,
            ack and ack.packet_id,
        )
        for place, (topic, payload) in enumerate(zip(batch.topics, batch.payloads, strict=True))
    ]
    assert ours == [(t, p, r, q, mid if q else None) for t, p, r, q, mid in Stock(pieces, v5).run()]
    assert control == []


@settings(max_examples=100, deadline=None)
@given(parts=st.lists(messages(st.integers(0, 2)) | CONTROL, max_size=12), cuts=CUTS, v5=st.booleans())
def test_control_packets_between_messages_come_out_whole_and_in_order(parts, cuts, v5):
    data = b"".join(part if isinstance(part, bytes) else encode(part, v5) for part in parts)
    batch, control = read(reader(v5), cut(data, cuts))
    assert control == [part for part in parts if isinstance(part, bytes)]
    sent = [part for part in parts if not isinstance(part, bytes)]
    assert batch.payloads == [message.payload for message in sent]
    assert list(batch.acks.values()) == [Ack(m.packet_id, m.qos, 1) for m in sent if m.qos]


@settings(max_examples=100, deadline=None)
@given(sent=st.lists(messages(st.integers(0, 2)), max_size=8), cuts=CUTS, v5=st.booleans(), limit=st.integers(1, 9000))
def test_payloads_over_the_limit_are_noted_wherever_the_stream_is_cut(sent, cuts, v5, limit):
    data = b"".join(encode(message, v5) for message in sent)
    batch, _ = read(reader(v5, limit), cut(data, cuts))
    assert batch.payloads == [message.payload for message in sent if len(message.payload) <= limit]
    large = [message for message in sent if len(message.payload) > limit]
    assert batch.oversized == [(message.topic, len(message.payload)) for message in large]
    assert batch.oversized_acks == [Ack(m.packet_id, m.qos, 1) for m in large if m.qos]


def test_an_oversized_payload_is_not_held_while_it_comes():
    source, batch = reader(limit=1000), Batch()
    head = encode(Publish("t", b"x" * 100_000_000, 0, False, 0, b""), False)[:8]
    source.feed(head)
    assert source.take(batch) is None
    for _ in range(100):
        source.feed(b"x" * 100_000)
        assert source.take(batch) is None
        assert len(source._buffer) + sum(map(len, source._parts)) < 1000
    assert batch.oversized == [("t", 100_000_000)]


def test_a_long_packet_in_many_pieces_is_joined_once():
    source, batch = reader(limit=10**8), Batch()
    data = encode(Publish("t", bytes(3_000_000), 0, False, 0, b""), False)
    joins = []
    for piece in cut(data, range(0, len(data), 1000)):
        source.feed(piece)
        joins.append(bool(source._buffer))
        source.take(batch)
    assert sum(joins) < 10
    assert batch.payloads == [bytes(3_000_000)]


def test_a_new_connection_forgets_half_a_packet():
    source = reader()
    read(source, [encode(Publish("t", b"x" * 100, 0, False, 0, b""), False)[:50]])
    source.reset(2)
    batch, _ = read(source, [encode(Publish("t", b"new", 1, False, 5, b""), False)])
    assert (batch.payloads, batch.acks) == ([b"new"], {0: Ack(5, 1, 2)})


def test_a_qos_2_message_that_is_not_fresh_is_left_out():
    source = reader(fresh=lambda packet_id: packet_id != 5)
    data = b"".join(encode(Publish("t", b"%d" % i, 2, True, i, b""), False) for i in (4, 5, 6))
    batch, _ = read(source, [data])
    assert (batch.payloads, batch.retained) == ([b"4", b"6"], [0, 1])
    assert batch.acks == {0: Ack(4, 2, 1), 1: Ack(6, 2, 1)}


def test_topic_names_are_remembered_within_bounds(monkeypatch):
    monkeypatch.setattr("daemon.wire.packets._CACHED_NAMES", 10)
    source = reader()
    data = [encode(Publish(f"t{i}" + "x" * (i % 2) * 300, b"", 0, False, 0, b""), False) for i in range(100)]
    batch, _ = read(source, data)
    assert batch.topics[98] == "t98"
    assert len(source._names) <= 10


@pytest.mark.parametrize("v5", [False, True])
@pytest.mark.parametrize(
    "data",
    [
        b"\x30\x80\x80\x00",
        b"\x30\x80\x80\x80\x00",
        b"\x30\x81\x80\x00\x00",
        b"\x30\x00\x30\x00\x30",
        b"\x30\x01\x00\xd0\x00",
        b"\x32\x04\0\1tx\0\0",
    ],
)
def test_a_publish_too_short_for_what_it_must_hold_is_malformed(data, v5):
    with pytest.raises(MalformedError):
        read(reader(v5), [data])


def test_a_message_with_endless_properties_is_skipped_like_an_oversized_one():
    properties = b"\x26\0\1a\xff\xff" + b"v" * 65535
    large = encode(Publish("t", b"small", 1, False, 7, properties), True)
    small = encode(Publish("t", b"ok", 0, False, 0, b""), True)
    batch, _ = read(reader(True, limit=1000), [large[:20], large[20:], small])
    assert (batch.payloads, batch.oversized, batch.oversized_acks) == ([b"ok"], [("t", 5)], [Ack(7, 1, 1)])


@settings(max_examples=300, deadline=None)
@given(
    data=st.binary(max_size=60), cuts=CUTS, v5=st.booleans(), first=st.sampled_from([b"", b"\x30", b"\x32", b"\x3d"])
)
def test_nonsense_raises_malformed_or_nothing(data, cuts, v5, first):
    with contextlib.suppress(MalformedError):
        read(reader(v5, limit=20), cut(first + data, cuts))


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from([0x20, 0x40, 0x50, 0x70, 0x90, 0xB0, 0xD0, 0xE0, 0xF0]),
    rest=st.binary(max_size=30),
    v5=st.booleans(),
)
def test_control_packets_full_of_nonsense_raise_malformed_or_nothing(kind, rest, v5):
    client = _Client(Mqtt(version="5" if v5 else "3.1.1"), "status", b"")
    with contextlib.suppress(MalformedError, Lost):
        client.handle(bytes([kind]) + varint(len(rest)) + rest)


@given(
    messages=st.lists(st.tuples(TOPIC, st.binary(max_size=30) | st.integers(0, 20_000).map(bytes)), max_size=10),
    v5=st.booleans(),
)
@settings(deadline=None)
def test_framed_scores_are_read_back_by_stock_paho(messages, v5):
    frames = Framer(v5=v5).frame(messages)
    assert [(topic, payload) for topic, payload, *_ in Stock([frames] if frames else [], v5).run()] == messages


@pytest.mark.parametrize("size", [127, 128, 16383, 16384, 2097151, 2097152])
def test_lengths_at_the_borders_of_their_encoding(size):
    message = Publish("t", bytes(size - 3), 0, False, 0, b"")
    data = encode(message, False)
    assert read(reader(limit=10**7), [data])[0].payloads == [message.payload]
    assert Framer(v5=False).frame([("t", message.payload)]) == data
