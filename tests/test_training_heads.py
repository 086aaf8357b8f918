"""Every head fitted on normal history keeps the promises of training.network.heads, exported and in the daemon."""

import importlib.util
import itertools
import os

import numpy as np
import pytest

from daemon.core.model import Model
from training import cli
from training.history import data

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
TENSORFLOW = importlib.util.find_spec("tensorflow") is not None or "ANOMALYD_CI" in os.environ
HEADS = ("faults", "forecast", "reconstruct")
WINDOW, CHANNELS = 64, ("flow", "heat")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("default"),  # TensorFlow and tf2onnx warn of themselves
    pytest.mark.skipif(not TENSORFLOW, reason="tensorflow is not installed: pip install anomalyd[training]"),
]


def plant(rows, seed=0):
    rng = np.random.default_rng(seed)
    t = np.arange(float(rows))
    values = np.stack([np.sin(t / 5), 0.2 * np.cos(t / 9) + 100], axis=1)
    return (values + [0.05, 0.02] * rng.standard_normal((rows, 2))).astype(np.float32)


def series(values, train_end, name="line.csv"):
    n = len(values)
    return data.History(name, CHANNELS, np.arange(float(n)), values, np.zeros(n, bool), 1.0, train_end)


@pytest.fixture(scope="module", params=[(head, preset) for head in HEADS for preset in ("small", "lean-64")], ids=str)
def fitted(request, tmp_path_factory):
    """A head on a trunk, fitted by the command as a user would, and loaded by the daemon: (head, Model)."""
    head, preset = request.param
    folder = tmp_path_factory.mktemp(f"{head}-{preset}")
    data.write(folder / "pack", [series(plant(1600), 1500)])
    file = folder / "line.onnx"
    sizes = ["--windows", "3000", "--epochs", "6", "--batch", "64", "--hop", "2"]
    assert cli.main(["fit", str(folder / "pack"), "--out", str(file), "--head", head, "--preset", preset, *sizes]) == 0
    return head, Model(file)


@pytest.fixture(scope="module")
def normal():
    return np.lib.stride_tricks.sliding_window_view(plant(300, seed=5), WINDOW, 0).swapaxes(1, 2)[::4].copy()


def with_fault(windows, kind, channel, times, length):
    """The windows with a fault in the newest `length` rows, of `times` standard deviations of that channel."""
    sd = plant(1500).std(axis=0)[channel]
    shape = {"spike": np.ones(1), "level": np.ones(length), "drift": np.linspace(0, 1, length)}[kind]
    x = windows.astype(np.float64)
    x[:, -len(shape) :, channel] += times * sd * shape
    return x.astype(np.float32)


def test_the_card_says_which_head_it_is_and_carries_scores_of_held_back_rows(fitted):
    head, model = fitted
    assert (model.card.head, model.card.window, tuple(model.card.channels)) == (head, WINDOW, CHANNELS)
    # the newest quarter of 1500 fitting rows was held back: 375 rows hold 312 windows of 64
    assert [len(segment) for segment in model.card.calibration.segments] == [312]
    assert model.card.parameters > 0
    assert (model.card.normal_class == "normal") == (head == "faults")


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("channel", [0, 1])
def test_the_score_has_no_finite_ceiling(fitted, normal, channel, sign):
    _, model = fitted
    grown = [model.run(with_fault(normal, "spike", channel, sign * 10.0**e, 1)).score for e in range(2, 13, 2)]
    for smaller, larger in itertools.pairwise(grown):
        assert (larger > smaller).all()


@pytest.mark.parametrize("kind", ["spike", "level", "drift"])
@pytest.mark.parametrize("channel", [0, 1])
def test_a_fault_ten_times_as_large_never_scores_lower(fitted, normal, kind, channel):
    _, model = fitted
    for length in (6, 24):
        grown = [model.run(with_fault(normal, kind, channel, size, length)).score for size in (4, 40, 400, 4000)]
        for smaller, larger in itertools.pairwise(grown):
            assert (larger >= smaller * (1 - 1e-5)).all()


def test_a_window_scores_the_same_in_any_batch(fitted, normal):
    _, model = fitted
    whole = model.run(normal)
    for name in ("score", "channel_score", "time_score", "class_probability"):
        if getattr(whole, name) is None:
            continue
        alone = np.concatenate([getattr(model.run(normal[k : k + 1]), name) for k in range(len(normal))])
        turned = getattr(model.run(normal[::-1].copy()), name)[::-1]
        assert np.allclose(alone, getattr(whole, name), rtol=1e-5, atol=1e-5)
        assert np.allclose(turned, getattr(whole, name), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("level", [0.0, 1e-30, 100.0, -1e6, 3.4e38, -3.4e38])
def test_constant_windows_have_finite_scores(fitted, level):
    _, model = fitted
    out = model.run(np.full((3, WINDOW, 2), level, np.float32))
    for name in ("score", "channel_score", "time_score", "class_probability"):
        found = getattr(out, name)
        assert found is None or np.isfinite(found).all()


def test_a_large_fault_stands_out_of_normal_windows(fitted, normal):
    _, model = fitted
    faulty = with_fault(normal, "level", 0, 8.0, 8)
    assert np.median(model.run(faulty).score) > model.run(normal).score.max()


def test_residuals_name_the_channel_and_the_rows_of_a_fault(fitted, normal):
    head, model = fitted
    if head == "faults":
        assert model.run(normal).channel_score is None
        return
    for channel in (0, 1):
        out = model.run(with_fault(normal, "level", channel, 12.0, 5))
        assert (out.channel_score.argmax(axis=1) == channel).all()
        assert (out.time_score.argmax(axis=1) >= WINDOW - 5).all()
        assert np.allclose(np.sqrt(np.square(out.channel_score).mean(axis=1)), out.score, rtol=1e-4)
        assert np.allclose(np.sqrt(np.square(out.time_score).mean(axis=1)), out.score, rtol=1e-4)


def test_a_huge_fault_counts_although_only_the_oldest_rows_hold_it(fitted, normal):
    _, model = fitted
    x = normal.copy()
    x[:, 10, 0] += 1000
    out = model.run(x)
    assert (out.score > model.run(normal).score).all()
    assert out.time_score is None or (out.time_score.argmax(axis=1) == 10).all()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("unit", [0.1, 1000.0])
def test_a_model_of_rows_in_another_unit_scores_windows_in_it_the_same(head, unit, normal):
    from training.network import architectures, heads, loop

    one, rows = heads.HEADS[head], plant(1500)
    loop.seed_everything(1)
    network = one.build(architectures.preset("lean-64"), 3, WINDOW, 2)

    def scores(scale):
        x = (normal.astype(np.float64) * scale).astype(np.float32)
        moved = (rows.astype(np.float64) * scale).astype(np.float32)
        return np.asarray(one.graph(network, one.normaliser(moved), x, 0)(x)["score"])

    assert np.allclose(scores(unit), scores(1.0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(("name", "window"), [("small", 64), ("lean-64", 90), ("lean-256", 256)])
def test_the_cost_on_the_card_is_that_of_keras(head, name, window):
    from training.network import architectures, heads

    one, preset = heads.HEADS[head], architectures.preset(name)
    network = one.build(preset, 4, window, 3)
    assert network.count_params() == one.cost(preset, 4, window, 3).parameters


def test_the_daemons_replay_alarms_at_a_fault_and_not_before(fitted):
    from training.judge import replayed

    _, model = fitted
    values = plant(2400, seed=9)
    sd = plant(1500).std(axis=0)
    at = 2000
    values[at : at + 40, 0] += 15 * sd[0]
    found = replayed.over(model, series(values, 0), hop=2)
    assert found.windows > 1000
    assert not found.on[0, :at].any()
    assert found.on[0, at : at + 40].any()


def test_heads_of_normal_history_refuse_simulated_plants(tmp_path, capsys):
    assert cli.main(["fit", "--simulated", "--head", "forecast", "--out", str(tmp_path / "m.onnx")]) == 2
    assert "it learns from a plant's own rows" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--preset", "medium"],
            "3 windows of 256 in a series; the largest window that fits is 100: --window 100",
        ),
        (
            ["--preset", "lean-1024"],
            "that fits is 100: --window 100 --preset small or medium or large or lean-64\n",
        ),
        (["--preset", "lean-64", "--window", "40"], "window: got 40, expected at least 64 rows"),
    ],
)
def test_data_too_short_for_a_window_are_refused_with_the_largest_that_fits(tmp_path, capsys, arguments, said):
    data.write(tmp_path / "pack", [series(plant(320), 300)])
    assert cli.main(["fit", str(tmp_path / "pack"), "--out", str(tmp_path / "m.onnx"), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "m.onnx").exists()


def test_an_architecture_from_a_file_is_fitted_and_runs_in_the_daemon(tmp_path):
    data.write(tmp_path / "pack", [series(plant(700), 700)])
    (tmp_path / "mine.toml").write_text(
        'window = 48\nlayers = [{kind = "conv", filters = 8, kernel = 3, dilation = 4, padding = "causal"}, '
        '{kind = "global-max"}, {kind = "dense", units = 8}]\n'
    )
    arguments = [
        "--architecture",
        str(tmp_path / "mine.toml"),
        "--windows",
        "500",
        "--epochs",
        "1",
        "--head",
        "forecast",
    ]
    assert cli.main(["fit", str(tmp_path / "pack"), "--out", str(tmp_path / "m.onnx"), *arguments]) == 0
    card = Model(tmp_path / "m.onnx").card
    assert (card.window, card.receptive_field, card.training["architecture"]) == (48, 9, "mine")
