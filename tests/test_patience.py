"""Patience: waits that grow, and the suspicion that somebody else has our client id."""

from __future__ import annotations

from daemon.wire.patience import FIRST_S, SHORT_S, SUSPICIOUS, Patience


def waits(patience, lives, **how):
    result = []
    for lived_s in lives:
        patience.lost(lived_s, **how)
        result.append(patience.wait_s())
    return result


def test_waits_double_up_to_the_longest():
    assert waits(Patience(3.0, lambda: 1.0), [None] * 5) == [FIRST_S, 1.0, 2.0, 3.0, 3.0]


def test_jitter_takes_up_to_half():
    assert waits(Patience(3.0, lambda: 0.0), [None] * 3) == [FIRST_S / 2, 0.5, 1.0]


def test_waits_stay_finite_after_years_of_failure():
    assert waits(Patience(30.0, lambda: 1.0), [None] * 5000)[-1] == 30.0


def test_a_connection_that_lived_starts_over_and_a_short_one_does_not():
    patience = Patience(30.0, lambda: 1.0)
    assert waits(patience, [None, None, SHORT_S]) == [0.5, 1.0, 0.5]
    assert waits(patience, [0.1, 0.1]) == [1.0, 2.0]


def test_short_connections_closed_without_a_word_are_suspicious():
    patience = Patience(30.0, lambda: 1.0)
    for _ in range(SUSPICIOUS):
        assert not patience.stolen
        patience.lost(1.0, pushed_out=True)
    assert patience.stolen
    assert patience.wait_s() == 30.0
    assert not patience.settled(SHORT_S)
    assert patience.settled(60.0)
    assert not patience.stolen


def test_a_broker_that_cannot_be_reached_is_no_thief():
    patience = Patience(30.0, lambda: 1.0)
    for lived_s in (1.0, 1.0, None, 1.0, 1.0):
        patience.lost(lived_s, pushed_out=True)
    assert not patience.stolen


def test_where_the_broker_says_so_once_is_enough():
    patience = Patience(30.0, lambda: 1.0)
    patience.lost(100.0, stolen=True)
    assert patience.stolen
