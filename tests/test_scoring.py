import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.naive import metrics as naive
from training.judge import scoring

labels = st.lists(st.booleans(), min_size=20, max_size=70).map(np.array)


@settings(max_examples=25, deadline=None)
@given(labels, st.integers(0, 2**31), st.integers(0, 9), st.integers(2, 40))
def test_vus_pr_equals_the_definition_word_for_word(anomaly, seed, buffer, values):
    score = np.random.default_rng(seed).integers(0, values, len(anomaly))  # ties, many of them
    fast = scoring.vus_pr(score, anomaly, buffer)
    if not anomaly.any():
        assert fast is None
        return
    assert fast == pytest.approx(naive.vus_pr(score.tolist(), anomaly.tolist(), buffer), abs=1e-9)


def test_vus_pr_of_a_perfect_score_is_near_one_and_of_its_opposite_near_nothing():
    anomaly = np.zeros(2000, bool)
    anomaly[700:760] = anomaly[1500:1600] = True
    assert scoring.vus_pr(anomaly.astype(float), anomaly, 0) > 0.99
    assert scoring.vus_pr(-anomaly.astype(float), anomaly, 0) < 0.1


def test_a_score_that_is_a_little_late_loses_less_with_a_buffer():
    anomaly = np.zeros(3000, bool)
    anomaly[1000:1040] = True
    late = np.roll(anomaly, 25).astype(float) + np.random.default_rng(0).random(3000) * 0.1
    assert scoring.vus_pr(late, anomaly, 100) > scoring.vus_pr(late, anomaly, 0) + 0.1


def test_the_random_floor_is_near_the_share_of_labelled_rows_without_a_buffer():
    anomaly = np.zeros(4000, bool)
    anomaly[1000:1800] = True
    assert scoring.random_floor(anomaly, 0) == pytest.approx(0.2, abs=0.02)


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(20, 300), st.integers(1, 40), st.floats(0.01, 0.5))
def test_alarms_are_counted_as_the_definition_says(seed, n, window, share):
    rng = np.random.default_rng(seed)
    on, anomaly = np.repeat(rng.random((2, n)) < share, 3, axis=1)
    got = scoring.alarms(on, anomaly, window)
    expected = naive.alarms(on.tolist(), anomaly.tolist(), window)
    assert (got.events, got.hit, got.true, got.false) == expected[:4]
    assert (got.normal_rows, got.normal_in_alarm, list(got.delays)) == expected[4:]
    assert (got.tail_rows, got.tail_in_alarm) == naive.tail(on.tolist(), anomaly.tolist(), window)
    assert got.normal_rows + got.tail_rows == int((~anomaly).sum())


def test_an_alarm_that_was_on_before_the_event_neither_hits_nor_counts_as_true():
    on, anomaly = np.zeros((2, 400), bool)
    anomaly[200:250] = True
    on[150:260] = True
    got = scoring.alarms(on, anomaly, 16)
    assert (got.hit, got.true, got.false) == (0, 0, 1)


def test_onsets_closer_than_a_window_are_one_alarm():
    on, anomaly = np.zeros((2, 400), bool)
    on[[100, 110, 120]] = True
    assert scoring.alarms(on, anomaly, 16).false == 1
    assert scoring.alarms(on, anomaly, 10).false == 3


def test_recall_precision_and_rates_follow_from_the_counts():
    first = scoring.Alarms(3, 2, 2, 1, 20_000, 100, delays=(3, 9), tail_rows=5_000, tail_in_alarm=350)
    second = scoring.Alarms(1, 1, 1, 0, 20_000, 0, delays=(1,))
    both = scoring.total([first, second])
    assert (both.recall, both.precision, both.f1) == (0.75, 0.75, 0.75)
    assert (both.false_per_10k, both.normal_time_in_alarm, both.delay) == (0.25, 0.0025, 3)
    assert both.normal_time_in_alarm_with_tail == 0.01
    assert scoring.Alarms().recall is None
    assert scoring.Alarms().false_per_10k is None


@pytest.mark.parametrize("length", [12, 47, 130])
def test_the_period_of_a_wave_is_found_and_equals_the_slow_search(length):
    x = np.sin(2 * np.pi * np.arange(1200) / length) + 0.2 * np.random.default_rng(1).standard_normal(1200)
    assert scoring.period(x) == naive.period(x)
    assert abs(scoring.period(x) % length) in (0, 1, length - 1)


def test_a_series_without_a_period_gets_the_default_and_the_buffer_is_bounded():
    assert scoring.period(np.ones(500)) == 125
    assert scoring.buffer_of(np.ones((500, 2), np.float32)) == 100
