import importlib.util
import json
import os

import numpy as np
import pytest

from daemon.core.model import Model
from daemon.errors import DataError, ModelError
from training import cli
from training.history import data
from training.history.examples import Examples

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
TENSORFLOW = importlib.util.find_spec("tensorflow") is not None or "ANOMALYD_CI" in os.environ
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("default"),  # TensorFlow and tf2onnx warn of themselves
    pytest.mark.skipif(not TENSORFLOW, reason="tensorflow is not installed: pip install anomalyd[training]"),
]


@pytest.fixture
def windows():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 64, 1)).astype(np.float32)
    x[::2, 40:] += 5
    return x


def network(classes=3, window=64, channels=1, seed=1):
    from training.network import architectures, loop

    loop.seed_everything(seed)
    return architectures.build(architectures.PRESETS["small"], classes, window, channels)


@pytest.mark.parametrize("unit", [1e-12, 1e-3, 1.0, 1e6, 1e15])
def test_normalised_windows_do_not_depend_on_the_unit(windows, unit):
    from training.network.heads import WindowNormaliser

    normalise = WindowNormaliser()
    scaled = (windows.astype(np.float64) * unit).astype(np.float32)
    assert np.allclose(normalise(scaled), normalise(windows), atol=1e-3)


@pytest.mark.parametrize("offset", [-300.0, 1e4, 1e5])
def test_normalised_windows_hardly_depend_on_an_offset(windows, offset):
    from training.network.heads import LEVEL_FLOOR, WindowNormaliser

    normalise = WindowNormaliser()
    moved = (windows.astype(np.float64) + offset).astype(np.float32)
    # what is lost is float32's own rounding of the input, and the floor of a millionth of the level
    lost = 25 * (abs(offset) * (LEVEL_FLOOR + 2**-23))
    assert np.allclose(normalise(moved), normalise(windows), atol=0.01 + lost)


@pytest.mark.parametrize("level", [0.0, 1e-30, 21.5, -1e6, 3e38])
def test_a_constant_window_becomes_zeros_and_rounding_alone_stays_small(level):
    from training.network.heads import WindowNormaliser

    still = np.full((2, 64, 1), level, np.float32)
    still[1, 50] = np.nextafter(still[1, 50], np.float32(np.inf))
    z = np.asarray(WindowNormaliser()(still))
    assert (z[0] == 0).all()
    assert np.abs(z).max() < 0.2


def test_extreme_but_finite_values_stay_finite():
    from training.network.heads import WindowNormaliser

    x = np.array([3e38, -3e38] * 32, np.float32).reshape(1, 64, 1)
    assert np.isfinite(np.asarray(WindowNormaliser()(x))).all()
    assert np.isfinite(np.asarray(WindowNormaliser()(x * np.float32(1e-38)))).all()


def test_the_score_at_temperature_one_is_minus_log_p_normal_without_a_ceiling():
    from training.network import heads

    logits = np.random.default_rng(0).normal(0, 6, (200, 5))
    logits[0] = [-400, 400, 0, 0, 0]
    exact = np.logaddexp.reduce(logits, axis=1)[:, None] - logits
    for normal in (0, 2, 4):
        got = np.asarray(heads.score(logits.astype(np.float32), normal))
        assert np.allclose(got, exact[:, normal], rtol=1e-4, atol=1e-6)
    assert np.asarray(heads.score(logits.astype(np.float32), 0))[0] > 700


def test_the_score_orders_windows_as_the_probability_does():
    from training.network import heads

    logits = np.random.default_rng(1).normal(0, 3, (300, 4)).astype(np.float32)
    normal = np.exp(logits[:, 0]) / np.exp(logits).sum(axis=1)
    for temperature in (1.0, heads.TEMPERATURE):
        assert (np.argsort(np.asarray(heads.score(logits, 0, temperature))) == np.argsort(-normal)).all()


def card(**changes):
    return {
        "name": "t", "version": "0", "window": 64, "channels": ["v"], "hop": 4, "classes": ["normal", "a", "b"],
        "normal_class": "normal", **changes,
    }  # fmt: skip


def test_an_export_scores_like_keras_in_any_batch(windows, tmp_path):
    from training.network import export, heads

    run = export.graph(network(), heads.WindowNormaliser(), 0)
    parity = export.write(tmp_path / "m.onnx", run, card(), windows)
    assert parity <= 1e-5 * max(1, export.scores(run, windows).max())
    assert export.card_of(tmp_path / "m.onnx")["parity"] == parity
    model = Model(tmp_path / "m.onnx")
    want = np.asarray(run(windows)["class_probability"])
    for n in (1, 7, 40):
        got = model.run(windows[:n])
        assert np.allclose(got.score, export.scores(run, windows[:n]), rtol=1e-5, atol=1e-5)
        assert np.allclose(got.class_probability, want[:n], atol=1e-5)


def test_a_network_that_is_very_sure_can_be_exported_and_scores_as_near_as_its_logits_allow(windows, tmp_path):
    from training.network import export
    from training.network.heads import faults
    from training.network.normalising import FitNormaliser

    sure = network()
    sure.get_layer("logits").set_weights([1e4 * weights for weights in sure.get_layer("logits").get_weights()])
    usual = FitNormaliser.of(windows.reshape(-1, 1))
    run, reach = faults.graph(sure, usual, 0), faults.HEAD.reach(sure, usual, windows)
    assert reach.max() > 100
    export.write(tmp_path / "m.onnx", run, card(), windows, reach)
    got = Model(tmp_path / "m.onnx").run(windows)
    assert (np.abs(got.score - export.scores(run, windows)) <= 1e-5 * np.maximum(1, reach)).all()


def test_an_export_that_does_not_agree_is_refused_and_leaves_no_file(windows, tmp_path):
    from training.network import export, heads

    run = export.graph(network(), heads.WindowNormaliser(), 0)

    class Lying:  # says other scores than its graph holds
        input_signature = run.input_signature
        get_concrete_function = run.get_concrete_function

        def __call__(self, x):
            out = run(x)
            return {**out, "score": out["score"] + 0.1}

    import tf2onnx

    original = tf2onnx.convert.from_function
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf2onnx.convert, "from_function", lambda f, **k: original(run, **k))
        with pytest.raises(ModelError, match="score against Keras"):
            export.write(tmp_path / "m.onnx", Lying(), card(), windows)
    assert list(tmp_path.iterdir()) == []


def test_metrics_are_added_to_a_card_and_the_model_still_runs(windows, tmp_path):
    from training.network import export, heads

    file = tmp_path / "m.onnx"
    export.write(file, export.graph(network(), heads.WindowNormaliser(), 0), card(metrics={"a": 1}), windows)
    before = Model(file).run(windows).score
    export.set_metrics(file, {"b": 2})
    assert export.card_of(file)["metrics"] == {"a": 1, "b": 2}
    assert np.array_equal(Model(file).run(windows).score, before)


def test_a_file_without_a_card_says_so(tmp_path):
    from training.network import export

    (tmp_path / "x.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match="the card of a model"):
        export.card_of(tmp_path / "x.onnx")


def fitted(examples, epochs, say):
    from training.network import heads, loop

    one = network(classes=2)
    return one, loop.fit(one, heads.WindowNormaliser(), examples, examples, epochs=epochs, batch=16, say=say)


def test_a_fit_is_repeatable_and_learns(windows):
    examples = Examples(windows, (np.arange(40) % 2 == 0).astype(np.int32))
    lines: list[str] = []
    one, result = fitted(examples, 8, lines.append)
    two, _ = fitted(examples, 8, lambda line: None)
    assert all(np.array_equal(a, b) for a, b in zip(one.get_weights(), two.get_weights(), strict=True))
    assert result.history[-1][1] < 0.3 * result.history[0][1]
    assert lines[0].startswith("epoch 1/8 loss=")
    assert "left=" in lines[0]


def test_an_interrupted_fit_keeps_the_best_epoch_so_far(windows):
    examples = Examples(windows, (np.arange(40) % 2 == 0).astype(np.int32))

    def interrupt(line):
        if line.startswith("epoch 3/"):
            raise KeyboardInterrupt

    one, result = fitted(examples, 50, interrupt)
    assert result.interrupted
    assert len(result.history) == 3
    one.compile(loss="sparse_categorical_crossentropy")
    from training.network import heads, loop

    kept = one.evaluate(loop.normalise(windows, heads.WindowNormaliser()), examples.y, verbose=0)
    assert kept == pytest.approx(min(check for _, check in result.history), rel=1e-4)


def test_an_interrupt_before_the_first_epoch_is_no_model(windows, monkeypatch):
    from training.network import heads, loop

    one = network(classes=2)

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(one, "fit", interrupted)
    examples = Examples(windows, np.zeros(40, np.int32))
    with pytest.raises(KeyboardInterrupt):
        loop.fit(one, heads.WindowNormaliser(), examples, examples, epochs=2)


def test_fit_on_simulated_plants_writes_a_model_that_the_daemon_runs(tmp_path, capsys):
    file = tmp_path / "any.onnx"
    assert cli.main(["fit", "--simulated", "--out", str(file), "--windows", "6000", "--epochs", "2"]) == 0
    assert "on windows never fitted: accuracy" in capsys.readouterr().out
    model = Model(file)
    assert (model.card.window, model.card.channels, model.card.hop, model.card.head) == (64, ["value"], 4, "faults")
    assert (model.card.classes[0], model.card.normal_class) == ("normal", "normal")
    assert model.card.calibration.segments == []
    assert len(model.card.training["fingerprint"]) == 64
    assert cli.main(["card", str(file)]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "any"
    assert cli.main(["evaluate", str(file), "--simulated", "--plants", "1", "--shows", "2", "--write"]) == 0
    assert cli.main(["card", str(file)]) == 0
    assert json.loads(capsys.readouterr().out.split("\n}\n")[-2] + "\n}")["metrics"]["shows"]["shows"] == 2


def test_fit_on_a_plants_own_history_knows_its_channels_and_carries_held_back_scores(tmp_path):
    rng = np.random.default_rng(0)
    t = np.arange(1200.0)
    values = np.stack([np.sin(t / 5), 0.01 * np.cos(t / 9) + 100], axis=1) + 0.05 * rng.standard_normal((1200, 2))
    one = data.History("line.csv", ("flow", "heat"), t, values.astype(np.float32), np.zeros(1200, bool), 1.0, 1000)
    data.write(tmp_path / "pack", [one])
    file = tmp_path / "line.onnx"
    arguments = ["--head", "faults", "--windows", "2000", "--epochs", "2", "--window", "32", "--hop", "2"]
    assert cli.main(["fit", str(tmp_path / "pack"), "--out", str(file), *arguments]) == 0
    card = Model(file).card
    assert (card.channels, card.window, card.hop, card.interval_s) == (["flow", "heat"], 32, 2, 1.0)
    assert (card.training["start"], card.training["end"]) == (0.0, 999.0)
    # the newest quarter of the 1000 fitting rows was held back: 250 rows hold 219 windows of 32
    assert [len(segment) for segment in card.calibration.segments] == [219]
    assert cli.main(["evaluate", str(file), str(tmp_path / "pack")]) == 0


def test_fit_refuses_series_that_are_too_short_or_have_other_columns(tmp_path, capsys):
    from training import recipe

    short = data.History("s.csv", ("v",), np.arange(90.0), np.zeros((90, 1), np.float32), np.zeros(90, bool), 1, 90)
    with pytest.raises(DataError, match="rows for fitting: got 90, expected at least 3 windows of 64"):
        recipe.history(recipe.Settings(), [short], tmp_path / "m.onnx", print)
    n = 400
    series = [
        data.History(f"{c}.csv", (c,), np.arange(n, dtype=float), np.zeros((n, 1), np.float32), np.zeros(n, bool), 1, n)
        for c in "ab"
    ]
    with pytest.raises(DataError, match=r"b\.csv: columns"):
        recipe.history(recipe.Settings(), series, tmp_path / "m.onnx", print)
    assert cli.main(["fit", "--out", str(tmp_path / "m.onnx")]) == 2
    assert "got neither, expected --simulated, or folders and files" in capsys.readouterr().err
