"""The grade: each rule on cases where the right answer is plain, and the intervals it rests on."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.judge import grade, rates
from training.judge.grade import Evidence

#: A model nobody would doubt: ten events of ten, one false alarm in 100,000 rows where 20 were declared.
GOOD = Evidence(
    labelled=True, apart="new", events=10, hit=10, alarms_true=12, alarms_false=1, stream_rows=100_000,
    stream_false=1, in_alarm=0.002, budget=2e-4, blocks=60, vus_pr=0.9, floor=0.1, outside=0.0,
    outside_channel="flow", shift=1.1, interval=1.0, parity=3e-7,
)  # fmt: skip

CASES = {
    "judged on what it learnt": ({"apart": "learnt"}, "data", "rows it had learnt"),
    "judged on what calibrates it": ({"apart": "calibrated"}, "care", "alarm level was set on the very normal rows"),
    "nothing labelled": ({"labelled": False}, "care", "on injected ones alone"),
    "events missed": ({"hit": 1}, "no", "found 1 of 10 labelled events"),
    "half of the events": ({"events": 40, "hit": 20}, "care", "no more than 20 of 40"),
    "two events": ({"events": 2, "hit": 2}, "data", "too few labelled events (2)"),
    "four events of four": ({"events": 4, "hit": 4}, "fine", ""),
    "no events": ({"events": 0, "hit": 0, "vus_pr": None, "floor": None}, "data", "too few labelled events (0)"),
    "scores like chance": ({"vus_pr": 0.11}, "no", "no better than chance"),
    "scores like chance, one event": ({"vus_pr": 0.11, "events": 1, "hit": 1}, "data", "too few"),
    "scores little above chance": ({"vus_pr": 0.25}, "care", "little above chance"),
    "chance is high where most is labelled": ({"vus_pr": 0.6, "floor": 0.59}, "no", "no better than chance"),
    "alarms without end": ({"stream_false": 300}, "no", "over 3 times the false alarms declared"),
    "more alarms than declared": ({"stream_false": 40}, "care", "more false alarms than declared"),
    "a few rows": ({"stream_rows": 300, "stream_false": 0}, "data", "too few normal rows (300)"),
    "no normal rows": ({"stream_rows": 0, "stream_false": 0, "in_alarm": None}, "data", "no normal rows"),
    "few of the alarms true": ({"alarms_true": 3, "alarms_false": 30}, "care", "though no more than declared"),
    "always in alarm": ({"in_alarm": 0.6}, "no", "in alarm for 60 % of normal time"),
    "often in alarm": ({"in_alarm": 0.08}, "care", "in alarm for 8 % of normal time"),
    "no calibration": ({"blocks": 0}, "care", "no whole window of scores"),
    "little calibration": ({"blocks": 2}, "care", "very few normal rows"),
    "a rare budget": ({"budget": 1e-5, "stream_rows": 10**7}, "care", "beyond what the calibration is proven for"),
    "the plant has moved": ({"outside": 0.7}, "data", "flow is mostly where it never was"),
    "the plant moves": ({"outside": 0.2}, "care", "flow has been where it never was"),
    "scores have doubled": ({"shift": 2.5}, "care", "score differently"),
    "scores have halved": ({"shift": 0.4}, "care", "score differently"),
    "another pace": ({"interval": 60.0}, "care", "another pace"),
    "another graph": ({"parity": 0.02}, "no", "does not compute what was trained"),
    "not from a network": ({"parity": None}, "fine", ""),
    "interrupted": ({"interrupted": True}, "care", "stopped early"),
    "a class never named": ({"classes": (("ball", 1, 40), ("race", 39, 40))}, "care", "ball is mostly taken for"),
}  # fmt: skip


def test_a_good_model_is_good_enough_and_every_reason_says_so():
    found = grade.grade(GOOD)
    assert found.level == "fine"
    assert found.says == "Good enough to deploy."
    assert {reason.level for reason in found.reasons} == {"fine"}


@pytest.mark.parametrize("case", CASES)
def test_one_thing_wrong_makes_the_grade_and_is_named(case):
    changed, level, says = CASES[case]
    found = grade.grade(replace(GOOD, **changed))
    assert found.level == level
    assert found.says.startswith(grade.WORDS[level])
    assert says in found.says
    assert found.reasons[0].number or level == "fine"


def test_the_worst_reason_decides_and_the_others_are_told_after_it():
    found = grade.grade(replace(GOOD, in_alarm=0.5, events=2, hit=2, interrupted=True))
    assert [reason.level for reason in found.reasons][:3] == ["no", "data", "care"]
    assert found.says == "Do not deploy because it stands in alarm for 50 % of normal time."


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 10**6), st.integers(0, 500))
def test_more_events_found_or_fewer_false_alarms_are_never_graded_worse(hit, missed, rows, false):
    order = ["no", "data", "care", "fine"]

    def level(events: int, hits: int, alarms: int) -> int:
        known = replace(GOOD, events=events, hit=hits, stream_rows=rows, stream_false=alarms)
        return order.index(grade.grade(known).level)

    if missed:
        assert level(hit + missed, hit + 1, false) >= level(hit + missed, hit, false)
    if false > 0 and rows * GOOD.budget > 2:
        assert level(10, 10, false - 1) >= level(10, 10, false)


def test_from_enough_events_on_an_interval_is_never_wider_than_half():
    def widest(events: int) -> float:
        return max(high - low for low, high in (rates.share(hit, events) for hit in range(events + 1)))

    assert widest(grade.ENOUGH_EVENTS) <= 0.5 < widest(grade.ENOUGH_EVENTS - 2)


@given(st.integers(0, 300))
def test_the_ends_of_a_poisson_interval_have_tails_of_2_and_a_half_percent(count):
    low, high = rates.poisson(count)

    def below(k: int, mean: float) -> float:
        term, total = math.exp(-mean), 0.0
        for step in range(k):
            total += term
            term *= mean / (step + 1)
        return total

    assert low <= count <= high
    assert below(count + 1, high) == pytest.approx(0.025, abs=1e-6)
    assert low == 0 if not count else 1 - below(count, low) == pytest.approx(0.025, abs=1e-6)


def test_intervals_of_shares_are_those_of_the_books():
    # Newcombe 1998, Statistics in Medicine 17, table I: 81/263, 15/148, 0/20, 1/29
    known = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605), (0, 20): (0, 0.1611), (1, 29): (0.0061, 0.1718)}
    for (hits, of), (low, high) in known.items():
        assert rates.share(hits, of) == pytest.approx((low, high), abs=1e-4)
    assert rates.share(0, 0) == (0.0, 1.0)
