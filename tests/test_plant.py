import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.demo import faults
from daemon.demo.plant import LAYOUT, RANGES, Plant

SINE = np.sin(np.arange(600) / 3).astype(np.float32)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 700), min_size=1, max_size=6), st.integers(0, 99))
def test_the_same_seed_gives_the_same_values_however_they_are_taken(cuts, seed):
    whole = Plant(7, seed).take(sum(cuts))
    plant = Plant(7, seed)
    assert np.array_equal(np.concatenate([plant.take(n) for n in cuts]), whole)
    assert whole.dtype == np.float32
    assert np.isfinite(whole).all()


def test_another_seed_or_family_is_another_plant():
    one = Plant(5, 1).take(100)
    assert not np.array_equal(one, Plant(5, 2).take(100))
    assert not np.array_equal(one, Plant(5, 1, family="train").take(100))


@pytest.mark.parametrize("name", RANGES)
def test_no_demo_range_overlaps_the_one_trained_on(name):
    (low, high), (other_low, other_high) = RANGES[name]["train"], RANGES[name]["demo"]
    assert low < high < other_low < other_high or other_low < other_high < low < high


def test_every_quantity_has_a_shape_and_faults_that_can_be_seen():
    plant = Plant(sum(len(quantities) for _, quantities in LAYOUT))
    assert set(plant.quantities) == set(faults.VISIBLE)
    assert len(set(plant.names)) == len(plant.names)
    moves = plant.take(3000).std(axis=0)
    assert (moves > 0).all()


def test_normal_operation_has_changes_of_load_far_beyond_the_noise():
    plant = Plant(26, seed=3, family="train")
    values = plant.take(3000)
    flow = values[:, plant.quantities.index("flow")]
    assert np.ptp(flow) > 10 * np.median(np.abs(np.diff(flow)))


@settings(deadline=None)
@given(st.sampled_from(faults.KINDS), st.integers(0, 599), st.integers(1, 300), st.floats(1, 30), st.integers(0, 9))
def test_a_fault_changes_its_own_rows_only(kind, start, length, magnitude, seed):
    length = min(length, len(SINE) - start)
    before = SINE.copy()
    got = faults.inject(SINE, kind, start, length, magnitude, np.random.default_rng(seed))
    assert np.array_equal(SINE, before)
    assert np.array_equal(got[:start], SINE[:start])
    assert np.array_equal(got[start + length :], SINE[start + length :])
    assert np.isfinite(got).all()
    assert np.array_equal(got, faults.inject(SINE, kind, start, length, magnitude, np.random.default_rng(seed)))


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e12])
@pytest.mark.parametrize("kind", ["spike", "level", "drift", "noise", "dropout"])
def test_magnitude_counts_in_the_signals_own_spread_whatever_the_unit(kind, unit):
    noise = (unit * np.random.default_rng(0).standard_normal(600)).astype(np.float32)
    got = faults.inject(noise, kind, 300, 200, 10.0, np.random.default_rng(1))
    assert 8 < np.abs(got - noise).max() / unit < 50


def test_stuck_holds_frequency_swings_faster_amplitude_swings_wider():
    rng = np.random.default_rng(0)
    stuck, fast, wide = (
        faults.inject(SINE, k, 300, 120, 8.0, rng)[300:420] for k in ("stuck", "frequency", "amplitude")
    )
    crossings = lambda x: int(np.count_nonzero(np.diff(np.sign(x))))  # noqa: E731
    assert np.ptp(stuck) == 0
    assert crossings(fast) > 1.5 * crossings(SINE[300:420])
    assert np.ptp(wide) == pytest.approx(2 * np.ptp(SINE[300:420]), rel=0.1)


def test_a_constant_signal_can_have_a_fault_too():
    still = np.full(400, 21.5, np.float32)
    got = faults.inject(still, "level", 200, 50, 10.0, np.random.default_rng(0))
    assert np.abs(got[200:250] - 21.5).min() > 0


@pytest.mark.parametrize(("start", "length"), [(-1, 10), (595, 10), (10, 0)])
def test_rows_outside_the_signal_are_refused(start, length):
    with pytest.raises(ValueError, match="fault rows: got"):
        faults.inject(SINE, "level", start, length, 5.0, np.random.default_rng(0))


def test_an_unknown_fault_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="got 'flood', expected one of spike"):
        faults.inject(SINE, "flood", 0, 10, 5.0, np.random.default_rng(0))


@given(st.integers(0, 2**31), st.integers(1, 12))
def test_a_schedule_keeps_its_promises(seed, n):
    quantities = Plant(20).quantities
    schedule = faults.plan(quantities, (700, 1900), seed, faults=n)
    assert len(schedule) == n
    assert len({fault.sensor for fault in schedule}) == n
    assert [fault.start for fault in schedule] == sorted(fault.start for fault in schedule)
    for fault in schedule:
        assert 700 <= fault.start < fault.end <= 1900
        assert fault.kind in faults.VISIBLE[quantities[fault.sensor]]
    assert schedule == faults.plan(quantities, (700, 1900), seed, faults=n)


def test_a_schedule_without_room_for_a_fault_is_refused():
    with pytest.raises(ValueError, match="room for a fault"):
        faults.plan(["flow"], (0, 100), 0)


def test_apply_touches_the_faulty_rows_of_the_faulty_sensors_only():
    plant = Plant(20, seed=4)
    values = plant.take(2000)
    schedule = faults.plan(plant.quantities, (700, 1900), 4)
    faulty = faults.apply(values, schedule, 4)
    truth = np.zeros(values.shape, bool)
    for fault in schedule:
        truth[fault.start : fault.end, fault.sensor] = True
        assert (faulty[fault.start : fault.end, fault.sensor] != values[fault.start : fault.end, fault.sensor]).any()
    assert np.array_equal(faulty[~truth], values[~truth])
