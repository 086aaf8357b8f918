"""Receipts: what is acknowledged, when, and on which connection."""

from __future__ import annotations

from daemon.wire.inbox import Ack
from daemon.wire.receipts import Receipts

PUBACK, PUBREC, PUBCOMP = b"\x40\x02\0", b"\x50\x02\0", b"\x70\x02\0"


def receipts():
    result = Receipts()
    result.opened()
    result.accepted(False)
    return result


def test_acknowledgements_leave_as_one_packet_in_order():
    it = receipts()
    assert it.fresh(8)
    assert it.settle([Ack(7, 1, 1), Ack(8, 2, 1), Ack(9, 1, 1)]) == PUBACK + b"\7" + PUBREC + b"\x08" + PUBACK + b"\x09"


def test_qos_1_ids_die_with_their_connection():
    it = receipts()
    it.opened()
    it.accepted(True)
    assert it.settle([Ack(7, 1, 1)]) == b""


def test_qos_2_is_fed_once_and_answered_once_it_was_seen_on_the_new_connection():
    it = receipts()
    assert it.fresh(7)
    it.opened()
    it.accepted(True)
    assert it.settle([Ack(7, 2, 1)]) == b""  # the broker has not asked again yet
    assert not it.fresh(7)
    assert it.settle([]) == PUBREC + b"\7"


def test_qos_2_seen_again_before_the_pump_is_done_waits_for_it():
    it = receipts()
    it.fresh(7)
    it.opened()
    it.accepted(True)
    assert not it.fresh(7)
    assert it.settle([]) == b""
    assert it.settle([Ack(7, 2, 1)]) == PUBREC + b"\7"


def test_after_pubrel_the_id_is_new_again():
    it = receipts()
    it.fresh(7)
    it.settle([Ack(7, 2, 1)])
    assert it.release(7) == PUBCOMP + b"\7"
    assert it.fresh(7)


def test_a_pubrel_that_means_nothing_is_answered_too_or_the_broker_would_wait_for_ever():
    assert receipts().release(7) == PUBCOMP + b"\7"


def test_where_the_broker_lost_the_session_old_ids_mean_nothing():
    it = receipts()
    it.fresh(7)
    it.opened()
    it.accepted(False)
    assert it.fresh(7)
    assert it.settle([Ack(7, 2, 1)]) == b""
    assert it.settle([Ack(7, 2, 2)]) == PUBREC + b"\7"


def test_what_found_no_room_is_fresh_when_it_comes_again():
    it = receipts()
    it.fresh(7)
    it.forget([Ack(7, 2, 1)])
    assert it.fresh(7)
