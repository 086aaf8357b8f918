"""Windows are cut as the daemon would score them, labelled by their policy, and no sample is on two sides."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.errors import ConfigError, DataError
from tests.naive import windows as naive
from training.history import windows
from training.history.reading import Series


def series(t, values=None, label=None, train_end=None, interval_s=1.0) -> Series:
    t = np.asarray(t, np.float64)
    x = np.arange(len(t), dtype=np.float32) if values is None else np.asarray(values, np.float32)
    x = x.reshape(len(t), -1)
    marked = None if label is None else np.asarray(label, np.int8)
    columns = tuple(f"c{k}" for k in range(x.shape[1]))
    end = len(t) if train_end is None else train_end
    rows = np.arange(len(t)) + 2
    return Series("a.csv", "a.csv", columns, t, x, marked, ("normal", "a", "b"), end, interval_s, "train", rows)


def cut(one: Series, window: int, stride: int = 1, **how: float) -> list[list[list[float]]]:
    laid = windows.lay(one, window, **how)
    return windows.take(laid, windows.starts(laid, window, stride), window).tolist()


steps = st.lists(st.sampled_from([1.0, 1.0, 1.0, 1.0, 1.2, 0.9, 2.0, 3.0, 7.0, 0.0, 0.3, -2.0]), max_size=60)


@given(steps=steps, window=st.integers(2, 7), stride=st.integers(1, 4), limit=st.integers(0, 4), seed=st.integers(0, 9))
def test_windows_are_those_the_daemon_would_have_scored(steps, window, stride, limit, seed):
    t = 100 + np.cumsum([0.0, *steps])
    values = np.arange(len(t), dtype=np.float32)
    values[np.random.default_rng(seed).random(len(t)) < 0.05] = np.nan
    rows = [[None if np.isnan(value) else float(value)] for value in values]
    expected = naive.laid(t.tolist(), rows, window, stride, 1.0, float(limit))
    assert cut(series(t, values), window, stride, limit_s=float(limit)) == expected


@given(steps=steps, window=st.integers(2, 7), limit=st.integers(0, 4))
def test_no_window_spans_a_gap_longer_than_allowed_or_goes_back(steps, window, limit):
    t = 100 + np.cumsum([0.0, *steps])
    laid = windows.lay(series(t), window, limit_s=float(limit))
    for first in windows.starts(laid, window):
        inside = slice(first, first + window)
        measured = laid.t[inside][laid.real[inside]]
        assert (np.diff(laid.row[inside]) >= 0).all()
        assert (np.diff(measured) > 0).all()
        assert (np.diff(measured) <= min(limit, window - 1) + 1.5).all()
        assert laid.real[first + window - 1]


@given(
    label=st.lists(st.integers(0, 2), min_size=1, max_size=40),
    window=st.integers(1, 9),
    stride=st.integers(1, 3),
    policy=st.sampled_from(windows.POLICIES),
)
def test_a_window_has_the_label_of_its_policy(label, window, stride, policy):
    first = np.arange(0, max(len(label) - window + 1, 0), stride)
    found = windows.labels(np.array(label, np.int8), first, window, policy)
    assert found.dtype == np.int8
    assert found.tolist() == [naive.label(label[k : k + window], policy) for k in first]


def test_an_unknown_policy_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"any \| last \| majority \| class"):
        windows.labels(np.zeros(3, np.int8), np.array([0]), 2, "most")


@given(
    steps=steps,
    window=st.integers(2, 6),
    shares=st.lists(st.floats(0.05, 1), min_size=2, max_size=4),
    stride=st.integers(1, 3),
)
def test_split_by_time_no_sample_is_on_two_sides_and_a_window_lies_between(steps, window, shares, stride):
    laid = windows.lay(series(100 + np.cumsum([0.0, *steps, *steps, *steps])), window)
    ranges = windows.by_time(len(laid.row), shares, window)
    assert len(ranges) == len(shares)
    sides = []
    for low, high in ranges:
        first = windows.starts(laid, window, stride, (low, min(high, len(laid.row))))
        sides.append({int(row) for k in first for row in laid.row[k : k + window]})
    for k, side in enumerate(sides):
        for other in sides[k + 1 :]:
            assert not side & other
    for (_, high), (low, _) in pairwise(ranges):
        assert low - high == window


def test_shares_are_of_the_rows_that_are_left():
    assert windows.by_time(120, (0.7, 0.2, 0.1), 10) == [(0, 70), (80, 100), (110, 120)]
    with pytest.raises(ConfigError, match="numbers above 0"):
        windows.by_time(120, (0.7, 0.0), 10)


@given(train_end=st.integers(0, 40), window=st.integers(2, 6))
def test_no_row_from_train_end_on_is_in_a_window(train_end, window):
    one = series(np.arange(40.0), train_end=train_end)
    laid = windows.lay(one, window)
    assert (laid.row < train_end).all()
    assert len(windows.starts(laid, window)) == max(train_end - window + 1, 0)


@given(
    units=st.lists(st.sampled_from("abcdef"), min_size=3, max_size=20).filter(lambda known: len(set(known)) >= 3),
    seed=st.integers(0, 5),
)
def test_split_by_unit_keeps_all_series_of_a_machine_on_one_side(units, seed):
    parts = windows.by_unit(units, [100] * len(units), (0.6, 0.2, 0.2), seed)
    assert sorted(k for part in parts for k in part) == list(range(len(units)))
    assert all(parts)
    sides = [{units[k] for k in part} for part in parts]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]


def test_fewer_machines_than_parts_is_said():
    with pytest.raises(DataError, match=r"got 1 \(pump\), expected one for each of 2 parts"):
        windows.by_unit(["pump", "pump"], [5, 5], (0.5, 0.5))


def test_a_unit_is_found_in_the_name_of_its_series():
    assert windows.units(["p1-monday.csv", "p1-tuesday.csv", "p2.csv"], r"^(\w+)") == ["p1", "p1", "p2"]
    assert windows.units(["a", "b"]) == ["a", "b"]
    for pattern in ("(x)", "p", "("):
        with pytest.raises(ConfigError, match="unit"):
            windows.units(["p1"], pattern)


def test_labels_follow_their_rows_through_gaps_and_dropped_rows():
    one = series([0, 1, 2, 2, 3, 6, 7, 8], label=[0, 0, 0, 2, 1, 1, 0, 0])
    laid = windows.lay(one, 4, limit_s=5)
    assert laid.row.tolist() == [0, 1, 2, 4, 5, 5, 5, 6, 7]
    assert laid.label.tolist() == [0, 0, 0, 1, 1, 1, 1, 0, 0]
    assert laid.dropped == {"duplicate": 1}


def test_rows_without_a_value_are_dropped_and_counted():
    values = np.arange(12.0).reshape(6, 2)
    values[2, 1] = np.nan
    laid = windows.lay(series(np.arange(6.0), values), 3, limit_s=0)
    assert laid.dropped == {"not-finite": 1}
    assert windows.starts(laid, 3).tolist() == [2]


def test_a_million_rows_take_no_python_per_window():
    n = 1_000_000
    one = series(np.arange(float(n)), label=np.arange(n) % 5000 < 100)
    laid = windows.lay(one, 64)
    first = windows.starts(laid, 64, 7)
    for policy in windows.POLICIES:
        assert len(windows.labels(laid.label, first, 64, policy)) == len(first) == (n - 64) // 7 + 1
