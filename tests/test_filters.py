"""Topic filters: the valid ones, and the pairs that meet, against MQTT 4.7 spelled out."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import filters
from daemon.wire import topics

LEVELS = st.sampled_from(["a", "b", "+", ""])
FILTERS = st.builds(
    lambda levels, end: "/".join([*levels, *end]) or "+", st.lists(LEVELS, max_size=3), st.sampled_from([[], ["#"]])
)


@given(one=FILTERS, other=FILTERS)
def test_two_filters_meet_where_some_topic_matches_both(one, other):
    names = ["/".join(levels) for n in range(1, 6) for levels in itertools.product(["a", "b", ""], repeat=n)]
    both = [
        name
        for name in names
        if topics.matches(one.split("/"), name.split("/")) and topics.matches(other.split("/"), name.split("/"))
    ]
    assert filters.meet(one, other) == bool(both), both[:1]
    assert filters.meet(other, one) == filters.meet(one, other)


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("#", "$SYS/broker", False),  # a wildcard first level never means $ topics
        ("+/broker", "$SYS/broker", False),
        ("$SYS/#", "$SYS/broker", True),
        ("$share/g/a/+", "a/b", True),
        ("$share/g/a/+", "$share/h/+/b", True),
        ("$share/g/a", "b", False),
    ],
)
def test_dollar_topics_and_shared_filters(one, other, together):
    assert filters.meet(one, other) == filters.meet(other, one) == together


@pytest.mark.parametrize("topic", ["a", "/", "a//b", "+", "#", "a/+/b/#", "$share/g/a/#", " ", "ä/+"])
def test_valid_filters_have_no_fault(topic):
    assert filters.fault(topic) is None


@pytest.mark.parametrize(
    "topic",
    ["", "a\x00", "a+", "a/+b/c", "#/a", "a#", "a/#/b", "x" * 65536, "$share", "$share/g", "$share/+/a", "$share//a"],
)
def test_wrong_filters_are_told_what_was_expected(topic):
    assert filters.fault(topic)
