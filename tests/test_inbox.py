"""The inbox: bounded, ordered, and never asleep on a message."""

from __future__ import annotations

import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from daemon.wire.inbox import Ack, Batch, Inbox


def test_messages_come_out_in_order_with_flags_and_acks():
    inbox = Inbox(10, 1000)
    assert inbox.put("a", b"1", retained=True)
    assert inbox.put("b", b"22", retained=False, ack=Ack(7, 1, 3))
    drain = inbox.drain(0)
    assert (drain.topics, drain.payloads, drain.retained) == (["a", "b"], [b"1", b"22"], [True, False])
    assert drain.acks == [Ack(7, 1, 3)]
    assert len(drain) == 2
    assert len(inbox.drain(0)) == 0


def test_messages_of_one_read_share_one_pair_of_clock_readings():
    inbox = Inbox(10, 1000)
    before, before_wall = time.monotonic(), time.time()
    inbox.put_batch(Batch(["a", "b"], [b"1", b"2"]))
    drain = inbox.drain(0)
    assert drain.arrived[0] == drain.arrived[1]
    assert before <= drain.arrived[0] <= time.monotonic()
    assert before_wall <= drain.wall[0] <= time.time()


def test_qos_0_beyond_the_bound_is_dropped_and_counted():
    inbox = Inbox(2, 1000)
    assert all(inbox.put("a", b"%d" % i, retained=False, ack=None) for i in range(5))
    assert (inbox.depth, inbox.dropped) == (2, 3)
    assert inbox.drain(0).payloads == [b"0", b"1"]


def test_qos_1_has_room_up_to_twice_the_bound_and_is_then_handed_back():
    inbox = Inbox(2, 1000)
    took = [inbox.put("a", b"x", retained=False, ack=Ack(i, 1, 0)) for i in range(6)]
    assert took == [True] * 4 + [False] * 2
    assert [ack.packet_id for ack in inbox.drain(0).acks] == [0, 1, 2, 3]
    assert inbox.dropped == 0


def test_bytes_are_bounded_like_messages():
    inbox = Inbox(100, 10)
    assert inbox.put("a", b"x" * 8, retained=False, ack=None)
    assert inbox.put("a", b"x" * 8, retained=False, ack=None)
    assert inbox.dropped == 1
    assert inbox.put("a", b"x" * 12, retained=False, ack=Ack(1, 1, 0))
    assert not inbox.put("a", b"x", retained=False, ack=Ack(2, 1, 0))
    assert inbox.bytes == 20
    inbox.drain(0)
    assert inbox.bytes == 0


def test_after_the_first_message_handed_back_no_later_one_of_the_read_overtakes_it():
    inbox = Inbox(1, 10)
    acks = {0: Ack(1, 1, 0), 1: Ack(2, 1, 0), 2: Ack(3, 1, 0)}
    rest = inbox.put_batch(Batch(["a", "b", "c"], [b"x" * 9, b"x" * 15, b"x"], retained=[2], acks=acks))
    assert rest == Batch(["b", "c"], [b"x" * 15, b"x"], retained=[1], acks={0: Ack(2, 1, 0), 1: Ack(3, 1, 0)})
    assert inbox.drain(0).acks == [Ack(1, 1, 0)]
    assert inbox.put_batch(rest) is None
    drain = inbox.drain(0)
    assert (drain.topics, drain.retained, drain.acks) == (["b", "c"], [False, True], [Ack(2, 1, 0), Ack(3, 1, 0)])


def test_a_message_larger_than_the_whole_inbox_passes_alone():
    inbox = Inbox(10, 4)
    assert inbox.put("a", b"x" * 20, ack=Ack(1, 1, 0))
    assert not inbox.put("a", b"x", ack=Ack(2, 1, 0))
    inbox.drain(0)
    assert inbox.put("a", b"x", ack=Ack(2, 1, 0))


def test_oversized_messages_are_told_and_acknowledged_though_nothing_else_came():
    inbox = Inbox(1, 10)
    inbox.put_batch(Batch(oversized=[("a", 999)], oversized_acks=[Ack(4, 1, 0)]))
    drain = inbox.drain(60)
    assert (drain.oversized, drain.acks, len(drain)) == ([("a", 999)], [Ack(4, 1, 0)], 0)
    assert inbox.drain(0).oversized == []


@given(sizes=st.lists(st.integers(0, 4), max_size=30), most=st.integers(1, 7), qos=st.integers(0, 1))
def test_a_split_drain_loses_and_repeats_nothing(sizes, most, qos):
    inbox = Inbox(1000, 100_000)
    sent = []
    for read, size in enumerate(sizes):
        payloads = [b"%d.%d" % (read, i) for i in range(size)]
        acks = {i: Ack(len(sent) + i, 1, 0) for i in range(size)} if qos else {}
        inbox.put_batch(Batch(["t"] * size, payloads, acks=acks))
        sent += payloads
    got, acks = [], []
    while len(drain := inbox.drain(0, most)):
        assert len(drain) <= most
        assert len(drain.wall) == len(drain.arrived) == len(drain.retained) == len(drain)
        got += drain.payloads
        acks += drain.acks
    assert got == sent
    assert [ack.packet_id for ack in acks] == list(range(len(sent) * qos))
    assert (inbox.depth, inbox.bytes) == (0, 0)


def test_a_wait_ends_with_the_first_message():
    inbox = Inbox(10, 1000)
    threading.Timer(0.02, inbox.put, ("a", b"1"), {"retained": False, "ack": None}).start()
    began = time.monotonic()
    assert inbox.drain(30).payloads == [b"1"]
    assert time.monotonic() - began < 10


def test_wake_ends_a_wait_even_when_called_before_it():
    inbox = Inbox(10, 1000)
    inbox.wake()
    began = time.monotonic()
    assert len(inbox.drain(30)) == 0
    assert time.monotonic() - began < 10
    assert len(inbox.drain(0.01)) == 0  # a wake counts once
    assert time.monotonic() - began >= 0.01


def test_a_wait_without_messages_costs_no_processor_time():
    inbox = Inbox(10, 1000)
    began = time.thread_time()
    inbox.drain(0.3)
    assert time.thread_time() - began < 0.05
