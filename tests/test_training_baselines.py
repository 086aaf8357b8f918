"""Closed forms as model files: what each graph says is what its sentence says, window by window."""

import dataclasses

import numpy as np
import pytest
from scipy import stats
from sklearn.ensemble import IsolationForest

from daemon.core.model import Model
from tests import histories
from tests.naive import baselines as naive
from training import registry
from training.baselines import forest, graph, kmeans, knn, memory, whitening
from training.history import data

CLOSED = [name for name in registry.BASELINES if registry.RECIPES[name].fit is not None]


@pytest.fixture(scope="module")
def asset():
    return histories.asset()


def made(file, name, *series, window=32, seed=1):
    registry.RECIPES[name].fit(series, window, seed, file)
    return Model(file)


def cut(values, window):
    return np.ascontiguousarray(graph.windows(values, window))


def some(one, channels):
    return dataclasses.replace(one, columns=one.columns[:channels], values=one.values[:, :channels].copy())


@pytest.mark.parametrize("channels", [1, 3])
def test_whitening_equals_its_slow_twin(tmp_path, asset, channels):
    one = some(asset, channels)
    model = made(tmp_path / "m.onnx", "whitening", one)
    x = cut(one.values, 32)[::97]
    out = model.run(x)
    fit_rows = one.values[:480]  # three quarters of the 640
    for window, score, shares in zip(x, out.score, out.channel_score, strict=True):
        expected, expected_shares = naive.whitening(window, fit_rows)
        assert score == pytest.approx(expected, rel=1e-3)
        assert shares == pytest.approx(expected_shares, rel=1e-2, abs=1e-3 * expected**2)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("name", "twin", "whole"),
    [
        ("zscore", naive.zscore, max),
        ("ewma", naive.ewma, max),
        ("sub-pca", naive.sub_pca, lambda each: np.sqrt(np.mean(each))),
        ("joint-pca", naive.joint_pca, lambda each: np.sqrt(np.sum(each))),
        ("matrix-profile", naive.matrix_profile, np.mean),
    ],
)
def test_each_channels_score_and_the_assets_equal_their_slow_twins(tmp_path, asset, name, twin, whole, channels):
    one = some(asset, channels)
    model = made(tmp_path / "m.onnx", name, one)
    x = cut(one.values, 32)[::311]
    out = model.run(x)
    for window, score, each in zip(x, out.score, out.channel_score, strict=True):
        expected = twin(window, one.values[:480])
        assert each == pytest.approx(expected, rel=2e-3, abs=1e-2)  # roots near 0 in float32
        assert score == pytest.approx(whole(expected), rel=2e-3, abs=1e-2)


def test_knn_equals_its_slow_twin(tmp_path, asset):
    model = made(tmp_path / "m.onnx", "knn", asset)
    x = cut(asset.values, 32)[::97]
    known = memory.remember(graph.Normal.of([asset], 32), 32, 1, knn.MOST)
    assert len(known) == 480 - 32 + 1
    expected = [naive.knn(window, known, asset.values[:480]) for window in x]
    assert model.run(x).score == pytest.approx(expected, rel=1e-3, abs=1e-2)


def test_kmeans_equals_its_slow_twin(tmp_path, asset):
    model = made(tmp_path / "m.onnx", "kmeans", asset)
    x = cut(asset.values, 32)[::97]
    known = memory.remember(graph.Normal.of([asset], 32), 32, 1, kmeans.MOST)
    centres = kmeans.centres(known, kmeans.CLUSTERS, 1)
    expected = [naive.kmeans(window, centres, asset.values[:480]) for window in x]
    assert model.run(x).score == pytest.approx(expected, rel=1e-3, abs=1e-2)


def test_centres_are_the_means_of_what_is_nearest_to_them():
    rng = np.random.default_rng(3)
    points = np.concatenate([rng.normal(middle, 0.1, (50, 2)) for middle in ((0, 0), (5, 0), (0, 5))])
    centres = kmeans.centres(points, 3, 1)
    assert sorted(centres.round(0).tolist()) == [[0, 0], [0, 5], [5, 0]]
    nearest = [min(range(3), key=lambda k: np.linalg.norm(point - centres[k])) for point in points]
    for k in range(3):
        assert points[np.array(nearest) == k].mean(axis=0) == pytest.approx(centres[k])
    assert len(kmeans.centres(np.ones((9, 2)), 3, 1)) == 1  # no more centres than different points


def test_the_forest_in_the_file_is_the_one_walked_by_hand(tmp_path, asset):
    model = made(tmp_path / "m.onnx", "isolation-forest", asset)
    x = cut(asset.values, 32)[::97]
    normal = graph.Normal.of([asset], 32)
    known = memory.remember(normal, 32, 1, forest.MOST)
    trees, sample = forest.grow(known, 1)
    assert (len(trees), sample) == (100, 256)
    expected = [naive.isolation(one, trees, sample) for one in normal.normalise(x).reshape(len(x), -1)]
    assert model.run(x).score == pytest.approx(expected, rel=1e-4)


def test_the_forest_ranks_as_the_one_of_scikit_learn():
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((2000, 4)).astype(np.float32).astype(float)
    odd = np.concatenate([normal[:300], rng.normal(0, 3, (300, 4)).astype(np.float32)])
    trees, sample = forest.grow(normal, 1)
    ours = [naive.isolation(one, trees, sample) for one in odd]
    theirs = -IsolationForest(random_state=0).fit(normal).score_samples(odd)
    assert stats.spearmanr(ours, theirs).statistic > 0.98
    usual = forest.usual_depth(sample)
    as_published = 2 ** ((np.log2(ours) - usual) / usual)
    assert np.mean(as_published) == pytest.approx(np.mean(theirs), abs=0.02)


def test_a_level_and_a_size_are_no_shape(tmp_path, asset):
    model = made(tmp_path / "m.onnx", "matrix-profile", asset)
    x = cut(asset.values, 32)[600:601]
    other = x * np.float32(1.5) + np.float32(3)
    assert model.run(other).score == pytest.approx(model.run(x).score, abs=0.02)


@pytest.mark.parametrize("name", ["knn", "kmeans", "isolation-forest"])
def test_the_seed_counts_where_a_recipe_says_so(tmp_path, asset, name):
    x = cut(asset.values, 32)[::50]
    scores = [made(tmp_path / f"{k}.onnx", name, asset, seed=seed).run(x).score for k, seed in enumerate((1, 1, 2))]
    assert registry.RECIPES[name].seeded
    assert np.array_equal(scores[0], scores[1])
    if name != "knn":  # which remembers all there is here
        assert not np.array_equal(scores[0], scores[2])


def test_at_most_so_many_different_windows_are_remembered_and_the_seed_draws_them(asset):
    long = dataclasses.replace(asset, train_end=1600, anomaly=np.zeros(1600, bool))
    normal = graph.Normal.of([long], 16)
    first, second = memory.remember(normal, 16, 1, 500), memory.remember(normal, 16, 2, 500)
    assert first.shape == (500, 48)
    assert len(np.unique(first, axis=0)) == 500
    assert not np.array_equal(first, second)
    assert np.array_equal(first, memory.remember(normal, 16, 1, 500))


@pytest.mark.parametrize("name", CLOSED)
def test_calibration_scores_are_of_rows_that_were_not_fitted_on(tmp_path, asset, name):
    model = made(tmp_path / "m.onnx", name, asset)
    (segment,) = model.card.calibration.segments
    assert segment == pytest.approx(model.run(cut(asset.values[480:640], 32)).score, rel=1e-3, abs=1e-3)
    after = dataclasses.replace(asset, values=asset.values.copy())
    after.values[480:] += 100
    other = made(tmp_path / "n.onnx", name, after)
    x = cut(asset.values, 32)[::50]
    assert np.array_equal(other.run(x).score, model.run(x).score)


def test_calibration_keeps_the_newest_scores_that_a_card_may_hold(tmp_path):
    t = np.arange(40_000.0)
    values = np.random.default_rng(0).normal(size=(40_000, 1)).astype(np.float32)
    one = data.History("long.csv", ("v",), t, values, np.zeros(40_000, bool), 1.0, 40_000, "train")
    whitening.fit([one], 16, 1, tmp_path / "m.onnx")
    model = Model(tmp_path / "m.onnx")
    (segment,) = model.card.calibration.segments
    assert len(segment) == 8192
    assert segment[-1] == pytest.approx(float(model.run(values[None, -16:]).score[0]), rel=1e-4)


@pytest.mark.parametrize("name", CLOSED)
def test_sensors_that_never_moved_give_zero_and_then_something(tmp_path, name):
    model = made(tmp_path / "m.onnx", name, histories.still(), window=16)
    x = np.full((4, 16, 2), 7, np.float32)
    x[1, -1, 1] += 1
    x[2], x[3, ::2] = 3e38, -3e38
    score = model.run(x).score
    assert np.isfinite(score).all()
    if name == "isolation-forest":  # no cut sets apart what is all the same
        assert score == pytest.approx(1, rel=1e-4)
        return
    assert score[0] == pytest.approx(0, abs=0.01)
    assert score[1] > 1


@pytest.mark.parametrize("name", CLOSED)
def test_a_fault_in_one_sensor_stands_out_and_its_channel_is_named(tmp_path, asset, name):
    model = made(tmp_path / "m.onnx", name, asset)
    x = cut(asset.values[:640], 32)[-1:].copy()
    normal = model.run(x).score
    x[0, -16:, 1] += 12 * asset.values[:640, 1].std()
    out = model.run(x)
    assert out.score > 1.02 * normal
    if out.channel_score is not None:
        assert out.channel_score[0].argmax() == 1
