"""The outbox: bounded, alarms before scores, and every loss counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daemon.wire.outbox import Letter, Outbox


def alarm(topic, text=b"!", retain=True):
    return Letter(topic, text, 1, retain)


def test_scores_and_letters_leave_in_the_order_they_came():
    outbox = Outbox(10)
    assert outbox.put_scores(["a", "b", "c"], [b"1", b"2", b"3"]) == 3
    outbox.put_letter(alarm("x"))
    outbox.put_letter(alarm("y"))
    assert outbox.take_letters(1) == [alarm("x")]
    assert outbox.take_letters(5) == [alarm("y")]
    assert outbox.take_scores(2) == [("a", b"1"), ("b", b"2")]
    assert outbox.take_scores(2) == [("c", b"3")]
    assert len(outbox) == 0


def test_the_oldest_scores_go_first_and_are_counted():
    outbox = Outbox(3)
    outbox.put_scores(["a", "b"], [b"1", b"2"])
    assert outbox.put_scores(["c", "d"], [b"3", b"4"]) == 2
    assert outbox.dropped == {"score": 1, "alarm": 0}
    assert outbox.put_scores(["e"] * 5, [b"%d" % i for i in range(5)]) == 3
    assert outbox.take_scores(9) == [("e", b"2"), ("e", b"3"), ("e", b"4")]
    assert outbox.dropped == {"score": 6, "alarm": 0}


def test_alarms_push_out_scores_and_scores_never_alarms():
    outbox = Outbox(2)
    outbox.put_scores(["a", "b"], [b"1", b"2"])
    outbox.put_letter(alarm("x"))
    outbox.put_letter(alarm("y"))
    assert outbox.put_scores(["c"], [b"3"]) == 0
    assert (outbox.letters, outbox.dropped) == (2, {"score": 3, "alarm": 0})


def test_in_a_box_full_of_alarms_the_newest_of_a_topic_replaces_what_it_supersedes():
    outbox = Outbox(2)
    for letter in (alarm("x", b"raised"), alarm("y", b"raised"), alarm("y", b"cleared")):
        outbox.put_letter(letter)
    assert outbox.take_letters(9) == [alarm("x", b"raised"), alarm("y", b"cleared")]
    assert outbox.dropped == {"score": 0, "alarm": 1}


def test_in_a_box_full_of_other_alarms_the_oldest_goes_and_is_counted():
    outbox = Outbox(2)
    for topic in "xyz":
        outbox.put_letter(alarm(topic))
    assert [letter.topic for letter in outbox.take_letters(9)] == ["y", "z"]
    assert outbox.dropped == {"score": 0, "alarm": 1}


@given(
    bound=st.integers(1, 6),
    steps=st.lists(
        st.tuples(st.just("score"), st.integers(0, 8))
        | st.tuples(st.sampled_from("xyz"), st.booleans())
        | st.tuples(st.just("take"), st.integers(0, 4)),
        max_size=40,
    ),
)
def test_whatever_happens_it_stays_in_bounds_and_everything_is_taken_held_or_counted(bound, steps):
    outbox, put, taken = Outbox(bound), 0, 0
    for what, value in steps:
        if what == "score":
            outbox.put_scores(["s"] * value, [b""] * value)
            put += value
        elif what == "take":
            taken += len(outbox.take_letters(value)) + len(outbox.take_scores(value))
        else:
            outbox.put_letter(alarm(what, retain=value))
            put += 1
        assert len(outbox) <= bound
        assert put == taken + len(outbox) + sum(outbox.dropped.values())
