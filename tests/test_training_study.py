"""The window study's parts, on signals whose answer is known on paper; no TensorFlow."""

import math
import statistics
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from daemon.core.model import Model
from daemon.errors import ConfigError, DataError
from training import registry
from training.history.data import History
from training.history.examples import Known
from training.judge import spent
from training.network import architecture_file
from training.network.layers import cost as paper
from training.network.layers import field
from training.study import (
    candidates,
    characteristics,
    contest,
    cost,
    decide,
    detectors,
    final,
    labelled,
    quality,
    race,
    rounds,
    selectors,
    sketch,
    trials,
    verdict,
    versus,
    ways,
)
from training.study.cost import Cost
from training.study.labelled import Case


def sine(rows=2000, period=50.0, noise=0.1, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    t = np.arange(rows)[:, None] + 7 * np.arange(channels)
    return (np.sin(2 * np.pi * t / period) + noise * rng.standard_normal((rows, channels))).astype(np.float32)


def history(values, interval_s=10.0):
    n, channels = values.shape
    names = tuple(f"s{k}" for k in range(channels))
    return History("line", names, np.arange(n) * interval_s, values, np.zeros(n, bool), interval_s, n, "train")


def price(latency_ms):
    return Cost(1, 1, 1, latency_ms, 1.0, 1, "CPUExecutionProvider", 100, 100, 1.0)


# the signals


def test_a_sine_has_its_period_by_every_way_to_ask():
    known = characteristics.of([history(sine(period=50))])
    (one,) = known.sensors
    assert known.period == pytest.approx(50, abs=1)
    assert one.fft == 50
    assert one.acf % 50 in (49, 0, 1)
    assert 5 <= one.memory <= 12  # cos(2 pi k / 50) falls below 1/e at k = 9.5
    assert one.stationary


def test_suss_takes_a_subsequence_that_looks_like_the_whole():
    assert 25 <= selectors.suss(sine(period=50, noise=0)[:, 0]) <= 110
    assert selectors.suss(np.zeros(500, np.float32)) is None


def slow_suss(signal):
    """The published search with one subsequence after the other, and every size up to the answer tried by hand."""
    x = [(float(v) - min(signal)) / (max(signal) - min(signal)) for v in signal]
    whole = (statistics.fmean(x), statistics.pstdev(x), max(x) - min(x))

    def unlike(rows):
        apart = []
        for start in range(1, len(x) - rows + 1):
            part = x[start : start + rows]
            own = (statistics.fmean(part), statistics.pstdev(part), max(part) - min(part))
            apart.append(math.dist(own, whole) / math.sqrt(rows))
        return statistics.fmean(apart)

    most, least = unlike(1), unlike(len(x) - 1)
    power = next(k for k in (16, 32, 64, 128, 256) if 1 - (unlike(k) - least) / (most - least) > 0.89)
    first = max(10, power // 2)
    return 2 * next(k for k in range(first, power + 2) if 1 - (unlike(k) - least) / (most - least) >= 0.89)


@pytest.mark.parametrize("seed", range(6))
def test_suss_is_what_its_authors_search_for(seed):
    rng = np.random.default_rng(seed)
    t = np.arange(300)
    wave = np.sin(2 * np.pi * t / [17, 40, 60, 25, 90, 33][seed]) + 0.2 * rng.standard_normal(300)
    found = (wave + 0.01 * t if seed % 2 else wave).astype(np.float64)
    assert selectors.suss(found) == slow_suss(found.tolist())


def test_noise_has_no_period_and_no_memory():
    known = characteristics.of([history(sine(noise=50.0))])
    assert known.period is None
    assert known.sensors[0].memory <= 2


def test_a_walk_does_not_stay_as_it_is():
    walk = np.cumsum(np.random.default_rng(1).standard_normal((3000, 1)), axis=0).astype(np.float32)
    assert not characteristics.of([history(walk)]).sensors[0].stationary


def test_a_constant_sensor_beside_a_moving_one_is_named_and_left_out_of_the_group():
    values = np.concatenate([sine(), np.full((2000, 1), 7, np.float32)], axis=1)
    known = characteristics.of([history(values)])
    assert [one.constant for one in known.sensors] == [False, True]
    assert known.period == pytest.approx(50, abs=1)


def test_all_constant_or_too_short_is_refused_with_the_reason():
    with pytest.raises(DataError, match="the same value in every row"):
        characteristics.of([history(np.full((500, 1), 7, np.float32))])
    with pytest.raises(DataError, match="got 50, expected at least 64"):
        characteristics.of([history(sine(rows=50))])


# sizes and trunks


def test_sizes_are_the_ladder_and_the_period_as_far_as_rows_allow():
    known = characteristics.of([history(sine(rows=2000, period=45))])
    found = candidates.sizes(known, known.rows)
    assert [one.window for one in found] == [16, 32, 45, 64, 90, 128, 256, 512, 1024]
    assert [one.window for one in found if one.refused] == [512, 1024]  # they need 2,048 and 4,096 rows
    assert found[2].why == "one period"


def test_no_size_that_fits_is_refused_with_the_largest_that_would():
    known = characteristics.of([history(sine(rows=800))])
    with pytest.raises(DataError, match="--sizes 200 or less"):
        candidates.sizes(known, known.rows, (512,))
    with pytest.raises(ConfigError, match="at least 8 rows"):
        candidates.sizes(known, known.rows, (4,))


@pytest.mark.parametrize("window", [*range(8, 140), 255, 256, 257, 511, 512, 1000, 1023, 1024])
def test_a_lean_trunk_sees_exactly_its_window_and_its_file_says_the_same(tmp_path, window):
    trunk = candidates.trunk(window)
    assert field(trunk) == window
    rows = window
    for layer in trunk.layers:
        if layer.kind == "conv":  # no stride leaves out the newest row
            assert (rows - 1 - (layer.kernel - 1) * layer.dilation) % layer.stride == 0
            rows = (rows - 1 - (layer.kernel - 1) * layer.dilation) // layer.stride + 1
    assert rows == 1
    file = tmp_path / "architecture.toml"
    file.write_text(candidates.toml(trunk))
    assert architecture_file.read(file) == trunk


@pytest.mark.parametrize("rows", [16, 33, 48, 100, 256])
def test_all_ways_to_see_so_many_rows_do(rows):
    for one in candidates.reaching(rows):
        assert rows <= field(one) <= one.window


# costs


def test_a_sketch_runs_and_costs_what_paper_says(tmp_path):
    trunk = candidates.trunk(48)
    file = sketch.write(tmp_path / "sketch.onnx", trunk, 48, 3)
    found = cost.measure(file, interval_s=2.0, batch=16, gpu="off")
    expected = paper(trunk, 1, 48, 3)
    assert (found.parameters, found.macs) == (expected.parameters, expected.macs)
    assert found.ring_bytes == 4 * 3 * (48 + 16)
    assert found.first_score_s == 96.0
    assert found.latency_ms > 0 < found.windows_per_s


# detectors


@pytest.mark.parametrize("name", detectors.CLOSED)
def test_a_detector_scores_as_its_model_file(tmp_path, name):
    values, window = sine(rows=600, channels=2), 24
    registry.RECIPES[name].fit([history(values)], window, 1, tmp_path / "model.onnx")
    x = sine(rows=60, channels=2, seed=5, noise=1.0)
    cut = np.lib.stride_tricks.sliding_window_view(x, window, 0).swapaxes(1, 2)
    expected = Model(tmp_path / "model.onnx", threads=1).run(np.ascontiguousarray(cut)).score
    assert detectors.fit(name, values[:450], window, 1)(x) == pytest.approx(expected, rel=2e-3, abs=1e-3)


def test_several_sizes_together_score_each_window_once_and_see_a_fault():
    score = detectors.fit("several", sine(), 32, 1)
    x = sine(rows=300, seed=2)
    x[200:210] += 5
    found = score(x)
    assert len(found) == 300 - 32 + 1
    assert found[200 - 31 :].max() > 3 * max(found[: 200 - 31].max(), 0.1)


@pytest.mark.slow
def test_a_model_scores_each_window_once_also_where_its_own_had_to_shrink():
    values = sine(rows=200)
    for trunk in (None, candidates.reaching(16)[0]):
        window = 64 if trunk is None else trunk.window
        fitted = detectors.calibrated("fused" if trunk is None else trunk.name, values, window, 1, trunk)
        assert len(fitted.score(sine(rows=300, seed=2))) == 300 - window + 1
        assert np.isfinite(np.concatenate(fitted.segments)).all()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="this system cannot forget an earlier peak")
def test_the_memory_of_a_fit_is_its_own_peak_and_not_that_of_one_before():
    with spent.measured() as before:
        pass
    with spent.measured() as much:
        np.ones(25_000_000).sum()  # 200 MB
    with spent.measured() as after:
        pass
    assert much.mb > before.mb + 150
    assert after.mb < much.mb - 100
    assert much.seconds > after.seconds > 0


# faults as labels


def test_an_event_is_the_fault_and_its_aftermath_and_rows_before_are_untouched():
    rows = sine(rows=900)
    known = Known(rows.mean(axis=0), rows.std(axis=0))
    found = list(trials.draw(rows, known, 64, np.random.default_rng(0)))
    assert len(found) == 8 * len(trials.MAGNITUDES)
    assert sum(one.wandered for one in found) == len(found) // 2
    for one in found:
        assert one.event[one.fault].all()
        assert one.event.sum() <= one.fault.sum() + trials.EARLY + trials.AFTERMATH
        assert len(one.rows) == one.context + len(one.fault)
        assert one.start >= one.context == 64


def test_average_precision_is_what_paper_says():
    score, labelled_rows = np.array([0.9, 0.8, 0.7, 0.6]), np.array([True, False, True, False])
    assert quality.average_precision(score, labelled_rows) == pytest.approx((1 + 2 / 3) / 2)


def test_a_round_is_the_same_again_and_trials_of_all_windows_stay_side_by_side():
    rows = sine(rows=700)
    one, again, other = (quality.judge("knn", window, rows, 64, 3) for window in (16, 16, 64))
    assert one.precision == again.precision
    assert len(one.precision) == len(other.precision) == 64
    assert np.nanmean(one.precision) > 0.3


def test_labelled_events_are_found_live():
    values = sine(rows=3000)
    values[2000:2100] += 2
    anomaly = np.zeros(3000, bool)
    anomaly[2000:2100] = True
    found = labelled.judge("knn", 16, Case("line", values[:1500], values, anomaly, 1500), 1)
    assert found.vus_pr > 0.8
    assert found.recall == 1.0
    assert 0 <= found.delay < 20


def test_a_long_case_is_cut_round_the_beginning_of_its_first_event():
    values, anomaly = np.arange(1000, dtype=np.float32)[:, None], np.zeros(1000, bool)
    anomaly[[50, 600, 601]] = True  # the first lies before what is judged
    case = Case("line", values[:200], values, anomaly, 300)
    cut = labelled.stretch(case, 100)
    assert cut.values[[0, -1], 0].tolist() == [550, 649]
    assert cut.anomaly.nonzero()[0].tolist() == [50, 51]
    assert cut.start == 0
    whole = labelled.stretch(case, 5000)
    assert (len(whole.values), whole.start) == (1000, 300)


# the race


def test_the_poor_stop_early_and_what_may_be_the_answer_goes_on():
    rng = np.random.default_rng(0)
    noise = 0.02 * rng.standard_normal(64)
    means = {16: 0.9, 32: 0.88, 64: 0.85, 128: 0.6, 256: 0.3, 512: 0.2}
    found = {("knn", window): (mean + noise).tolist() for window, mean in means.items()}
    told = race.standings(found, apart=True)
    assert told["knn", 64].behind == pytest.approx(0.05)
    assert set(race.going_on(told, apart=True)) == {("knn", 16), ("knn", 32), ("knn", 64)}


def test_candidates_are_held_against_each_other_on_the_same_trials():
    found = {("knn", 16): [0.1, 0.9, 0.9, 0.9], ("knn", 32): [0.3]}  # the second stopped after a hard trial
    told = race.standings(found, apart=True)
    assert told["knn", 32].behind == pytest.approx(-0.2)
    assert told["knn", 16].behind == 0


def test_a_race_that_goes_on_decides_after_each_rung_by_the_rounds_of_that_rung(tmp_path):
    kept = rounds.open_rounds(tmp_path / "rounds.jsonl", {})
    worths = {("a", 1): [0.9, 0.9], ("b", 1): [0.8, 0.8], ("c", 1): [0.5, 0.9], ("d", 1): [0.4]}
    for key, values in worths.items():  # all that a race left that was not stopped, and more of "c"
        for number, value in enumerate(values):
            kept.add(key, number, {"precision": value})
    done = contest.Contest(
        "models", kept, "precision", 0, False, lambda key, number: None, lambda told: race.better_half(told, ()), 1
    )
    done.run(list(worths), (1, 2), lambda line: None)
    assert done.out_after == {("c", 1): 1, ("d", 1): 1}


# the decision


def decided(qualities, labelled_rows=False, lift=None, n=64, spread=0.05):
    noise = spread * np.random.default_rng(0).standard_normal(n)
    own = {key: 0.02 * np.random.default_rng(k).standard_normal(n) for k, key in enumerate(qualities)}
    found = {key: (mean + noise + own[key]).tolist() for key, mean in qualities.items()}
    told = race.standings(found, not labelled_rows)
    known = characteristics.of([history(sine(rows=9000))])
    costs = {key: price(key[1] / 1000) for key in qualities}
    sizes = candidates.sizes(known, known.rows)
    return decide.decide(
        told, lift or dict.fromkeys(qualities, 0.0), costs, known, sizes, 3 if labelled_rows else 0, {}
    )


def test_without_labels_the_largest_window_not_far_behind_is_taken():
    found = decided({("knn", 16): 0.90, ("knn", 32): 0.88, ("knn", 64): 0.84, ("knn", 128): 0.70})
    assert (found.window, found.detector) == (64, "knn")
    assert any("largest window" in line for line in found.why)
    assert any("drown" in line for line in found.why)
    assert any("label a few events" in line for line in found.uncertain)


def test_without_labels_the_detector_is_the_one_whose_score_faults_lift_most():
    qualities = {("knn", 32): 0.9, ("whitening", 64): 0.5}
    found = decided(qualities, lift={("knn", 32): 0.4, ("whitening", 64): 1.2})
    assert (found.window, found.detector) == (64, "whitening")


def test_with_labels_the_cheapest_within_one_standard_error_of_the_best_is_taken():
    found = decided({("knn", 16): 0.60, ("knn", 32): 0.799, ("knn", 64): 0.80}, labelled_rows=True, n=6)
    assert found.window == 32
    found = decided({("knn", 16): 0.60, ("knn", 32): 0.70, ("knn", 64): 0.80}, labelled_rows=True, n=6)
    assert found.window == 64


def test_a_candidate_that_varies_much_is_not_excused_by_that():
    found = {("knn", 16): [0.75, 0.99, 1.0], ("knn", 64): [0.989, 0.99, 0.991]}
    known = characteristics.of([history(sine(rows=9000))])
    costs = {key: price(key[1] / 1000) for key in found}
    told = race.standings(found, apart=False)
    chosen = decide.decide(told, {}, costs, known, candidates.sizes(known, known.rows), 3, {})
    assert chosen.window == 64


def test_fits_of_one_series_are_one_piece_of_evidence():
    nan = math.nan
    assert contest.by_case([0.2, 0.4, 0.4, 0.8], 2) == pytest.approx([0.3, 0.6])
    assert contest.by_case([0.2, 0.4, 0.6], 2) == pytest.approx([0.4, 0.4])
    assert contest.by_case([0.2, 0.4], 3) == [0.2, 0.4]
    assert contest.by_case([nan, 0.4, nan, 0.6], 2)[1] == pytest.approx(0.5)


# what fit should make


def judged_models(qualities, window=64, labelled_rows=True, asked=None, n=8):
    noise = 0.02 * np.random.default_rng(0).standard_normal(n)
    own = {key: 0.01 * np.random.default_rng(k).standard_normal(n) for k, key in enumerate(qualities)}
    told = race.standings({key: (mean + noise + own[key]).tolist() for key, mean in qualities.items()}, apart=False)
    entrants = {key: final.Entrant(key, price(key[1] / 100)) for key in qualities}
    found = final.Final(entrants, contest=SimpleNamespace(told=told))
    one = decide.Decision(window, "knn", (), (), ())
    return verdict.verdict(found, one, 1, 1000, labelled_rows, asked)


def test_a_network_is_taken_where_labels_say_that_it_is_better_and_not_for_less():
    better = judged_models({("fused", 64): 0.6, ("lean-64", 64): 0.7, ("lean-32", 32): 0.9})
    assert better.key == ("lean-64", 64)  # that at 32 rows is none for this window
    assert judged_models({("fused", 64): 0.6, ("lean-64", 64): 0.601}).key == ("fused", 64)


def test_one_fit_of_a_network_is_too_little_to_take_it():
    found = judged_models({("fused", 64): 0.6, ("lean-64", 64): 0.9}, n=1)
    assert found.key == ("fused", 64)
    assert "one fit alone is too little" in found.why[0]


def test_of_the_fused_heads_the_cheapest_as_good_as_the_best_is_taken_and_held_against_the_default():
    assert judged_models({("fused", 64): 0.7, ("fused", 128): 0.7}).key == ("fused", 64)
    found = judged_models({("fused", 64): 0.6, ("fused", 128): 0.8})
    assert found.key == found.default == ("fused", 128)
    assert "That is what" in found.compared
    assert "against" in judged_models({("fused", 64): 0.8, ("fused", 128): 0.6}).compared


def test_without_labels_it_is_what_fit_makes_by_itself_unless_sizes_are_asked_for():
    for window in (16, 96, 512):
        assert judged_models({("fused", 128): 0.6}, window, False).key == ("fused", 128)
    assert judged_models({("fused", 16): 0.6}, 16, False, (16, 32)).key == ("fused", 16)
    assert verdict.verdict(None, decide.Decision(512, "knn", (), (), ()), 8, 50, False, None).key == ("fused", 50)


def test_a_default_over_the_budget_gives_way_to_a_shorter_window_and_that_to_a_lean_network():
    assert judged_models({("fused", 64): 0.6, ("lean-64", 64): 0.7}, labelled_rows=False).key == ("fused", 64)
    found = judged_models({("lean-32", 32): 0.6}, 32)
    assert found.key == ("lean-32", 32)
    assert "does not fit here" in found.compared
    assert judged_models({("fused", 64): 0.6}, 16, False, (16, 32)).key == ("lean-16", 16)


# what is kept on disk


def test_a_torn_last_line_is_judged_again_and_other_data_are_refused(tmp_path):
    file = tmp_path / "rounds.jsonl"
    kept = rounds.open_rounds(file, {"fingerprint": "a"})
    kept.add(("knn", 16), 0, {"precision": [0.5, None]})
    with file.open("a") as out:
        out.write('{"detector": "knn", "win')
    again = rounds.open_rounds(file, {"fingerprint": "a"})
    assert again.values(("knn", 16), "precision")[0] == 0.5
    assert math.isnan(again.values(("knn", 16), "precision")[1])
    again.add(("knn", 32), 0, {"precision": [0.1]})
    assert len(rounds.open_rounds(file, {"fingerprint": "a"}).known) == 2
    with pytest.raises(DataError, match="another --out"):
        rounds.open_rounds(file, {"fingerprint": "b"})


# ways to choose


def test_a_fixed_size_that_does_not_fit_is_the_largest_that_does():
    assert ways.at_most([16, 32, 64], 256) == 64
    assert ways.at_most([32, 64], 16) == 32
    assert ways.nearest([16, 32, 64], 24) in (16, 32)
    assert ways.nearest([16, 32, 64], None) == 64


def test_the_bootstrap_interval_holds_the_gain():
    spent = np.ones(40)
    reached = {"study": np.full(40, 0.5), "fixed 64": np.linspace(0.3, 0.6, 40), "oracle": np.full(40, 0.6)}
    reached = {
        way: np.stack([values, spent * (4 if way == "oracle" else 1)], axis=1) for way, values in reached.items()
    }
    way = next(one for one in versus.ways(reached) if one.name == "fixed 64")
    assert way.gain == pytest.approx(0.05)
    assert way.low < way.gain < way.high
    assert way.share == 0.25
