"""The fused head: several views of a window in one graph, for sensors seen jointly."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from daemon.core.model import Model
from daemon.errors import DataError
from training.history.data import History

pytestmark = pytest.mark.slow


def pump(n: int = 800, seed: int = 0) -> np.ndarray:
    """Three sensors: a swing, its echo five rows later, and what is left of both; with some noise."""
    rng = np.random.default_rng(seed)
    swing = np.sin(np.arange(n) / 7) + 0.1 * rng.standard_normal(n)
    echo = np.roll(swing, 5) + 0.1 * rng.standard_normal(n)
    return np.stack([40 + 5 * swing, 3 + echo, 1e3 + 50 * (swing - echo)], 1).astype(np.float32)


def history(values: np.ndarray, name: str = "pump") -> History:
    n, channels = values.shape
    columns = ("flow", "pressure", "temperature")[:channels]
    return History(name, columns, np.arange(n, dtype=float), values, np.zeros(n, bool), 1.0, n)


def cut(rows: np.ndarray, window: int) -> np.ndarray:
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(rows, window, 0).swapaxes(1, 2))


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Model:
    from training.fused import fit

    file = tmp_path_factory.mktemp("fused") / "pump.onnx"
    fit.fit(fit.Settings(window=48), [history(pump())], file, lambda line: None)
    return Model(file, gpu="off", threads=1)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Model:
    from training.fused import fit

    file = tmp_path_factory.mktemp("fused") / "flow.onnx"
    fit.fit(fit.Settings(window=64), [history(pump()[:, :1])], file, lambda line: None)
    return Model(file, gpu="off", threads=1)


def faulty(sensor: int, size: float, window: int, rows: int = 12) -> np.ndarray:
    """Unseen windows with a step in the newest rows, in the sensor's own spreads."""
    values = pump(400, seed=9)
    x = cut(values, window)[::7].copy()
    x[:, -rows:, sensor] += size * values[:, sensor].std()
    return x


def test_a_fault_scores_higher_than_what_is_normal_and_the_larger_the_higher(joint: Model, single: Model) -> None:
    for model in (joint, single):
        window, channels = model.card.window, len(model.card.channels)
        normal = model.run(cut(pump(400, seed=9)[:, :channels], window)).score
        scores = [
            model.run(np.ascontiguousarray(faulty(0, size, window)[..., :channels])).score
            for size in (4.0, 40.0, 4e3, 4e6, 4e9)
        ]
        assert np.median(scores[0]) > np.quantile(normal, 0.99)
        for less, more in itertools.pairwise(scores):
            assert (more >= less).all()
            assert np.isfinite(more).all()
            assert more.mean() > less.mean()


def test_the_channel_with_the_fault_and_the_rows_it_is_in_are_named(joint: Model) -> None:
    for sensor in range(3):
        out = joint.run(faulty(sensor, 6.0, joint.card.window))
        assert out.channel_score is not None
        assert out.time_score is not None
        assert (out.channel_score.argmax(axis=1) == sensor).mean() > 0.9
        assert (out.time_score.argmax(axis=1) >= joint.card.window - 14).mean() > 0.7


def test_sensors_that_are_usual_each_but_not_together_are_found(joint: Model) -> None:
    x = cut(pump(400, seed=9), joint.card.window)[::7].copy()
    normal = joint.run(x).score
    x[:, -16:, 1] = 2 * 3 - x[:, -16:, 1]  # the echo answers upside down: each value is one it often has
    assert (joint.run(x).score > np.quantile(normal, 0.99)).mean() > 0.9


def test_scores_do_not_depend_on_batch_mates_and_are_finite_for_anything_finite(joint: Model, single: Model) -> None:
    for model in (joint, single):
        shape = (5, model.card.window, len(model.card.channels))
        x = np.random.default_rng(1).normal(0, 1e3, shape).astype(np.float32)
        x[1], x[2], x[3] = 0, np.float32(3.4e38), np.float32(-3.4e38)
        together = model.run(x).score
        alone = np.concatenate([model.run(x[k : k + 1]).score for k in range(5)])
        assert np.isfinite(together).all()
        assert np.allclose(together, alone, rtol=1e-4, atol=1e-4)


def test_calibration_scores_are_like_those_of_unseen_normal_rows(joint: Model, single: Model) -> None:
    for model in (joint, single):
        known = np.concatenate([np.asarray(segment) for segment in model.card.calibration.segments])
        unseen = model.run(cut(pump(400, seed=9)[:, : len(model.card.channels)], model.card.window)).score
        assert 0.8 < np.median(known) / np.median(unseen) < 1.4
        assert np.quantile(known, 0.95) > np.quantile(unseen, 0.5)


def test_the_same_seed_makes_the_same_model_and_another_one_another(tmp_path: Path) -> None:
    from training.fused import fit
    from training.fused.encoder import Effort
    from training.network import architectures

    x = cut(pump(400, seed=9), 32)[:50]
    scores = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        trunk = architectures.preset("small")
        settings = fit.Settings(window=32, seed=seed, preset=trunk, effort=Effort(steps=10, batch=32))
        fit.fit(settings, [history(pump(300))], tmp_path / f"{name}.onnx", lambda line: None)
        scores.append(Model(tmp_path / f"{name}.onnx", gpu="off", threads=1).run(x).score)
    assert np.abs(scores[0] - scores[1]).max() <= 1e-5
    assert np.abs(scores[0] - scores[2]).max() > 1e-5


def test_few_rows_shrink_the_window_and_that_is_said(tmp_path: Path) -> None:
    from training.fused import fit

    said: list[str] = []
    fit.fit(fit.Settings(), [history(pump(60))], tmp_path / "few.onnx", said.append)
    model = Model(tmp_path / "few.onnx", gpu="off", threads=1)
    assert model.card.window == 15
    assert any("window 64 shrunk to 15: 60 rows" in line for line in said)
    with pytest.raises(DataError, match="at least 16 normal rows"):
        fit.fit(fit.Settings(), [history(pump(12))], tmp_path / "none.onnx", said.append)
    assert not (tmp_path / "none.onnx").exists()


@pytest.mark.parametrize("value", [0.0, 7.5, -1e6])
def test_a_sensor_that_never_moved_can_be_fitted_and_a_move_is_seen(tmp_path: Path, value: float) -> None:
    from training.fused import fit

    rows = np.full((400, 1), value, np.float32)
    fit.fit(fit.Settings(window=32), [history(rows)], tmp_path / "still.onnx", lambda line: None)
    model = Model(tmp_path / "still.onnx", gpu="off", threads=1)
    x = np.full((2, 32, 1), value, np.float32)
    x[1, -4:] += 0.1 * (abs(value) + 1)
    still, moved = model.run(x).score
    assert moved > 2 * still


def test_series_of_other_sensors_are_refused(tmp_path: Path) -> None:
    from training.fused import fit

    with pytest.raises(DataError, match="columns"):
        fit.fit(fit.Settings(), [history(pump()), history(pump()[:, :1])], tmp_path / "x.onnx", lambda line: None)


def test_the_type_of_fault_is_what_the_shipped_network_says_of_the_culprit_and_its_accuracy_is_told(
    single: Model, joint: Model
) -> None:
    from daemon import shipped

    alone = Model(shipped.resolve("any-sensor-64"), gpu="off", threads=1)
    x = np.ascontiguousarray(faulty(0, 8.0, 64)[..., :1])
    out, wanted = single.run(x), alone.run(x)
    assert single.card.classes == alone.card.classes
    assert out.class_probability is not None
    assert np.abs(out.class_probability - wanted.class_probability).max() < 1e-4
    told = single.card.metrics["check"]
    assert set(told["types"]) <= set(alone.card.classes)
    assert 1 / 8 < told["type"] <= 1
    assert joint.card.classes == []  # 48 rows are too few for that network
    assert joint.card.metrics["check"]["culprit"] > 0.9


def test_fit_with_no_options_is_this_head_and_its_recipe_makes_the_same_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from training import cli
    from training.history import data

    data.write(tmp_path / "pack", [history(pump(400)[:, :1], "pump.csv")])
    assert cli.main(["fit", str(tmp_path / "pack"), "--out", str(tmp_path / "line.onnx")]) == 0
    said = capsys.readouterr().out
    assert "window 128 shrunk to 100: 400 rows to fit on" in said
    assert "faults injected into its rows" in said
    again = ["fit", "--recipe", str(tmp_path / "line.run" / "recipe.toml"), "--out", str(tmp_path / "again.onnx")]
    assert cli.main(again) == 0
    one, other = (Model(tmp_path / name, gpu="off", threads=1) for name in ("line.onnx", "again.onnx"))
    x = cut(pump(400, seed=9)[:, :1], 100)[:20]
    assert one.card.head == "fused"
    assert np.abs(one.run(x).score - other.run(x).score).max() <= 1e-5


def test_options_of_other_heads_are_refused_and_a_preset_can_be_its_trunk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from training import cli
    from training.fused import fit
    from training.fused.encoder import Effort
    from training.network import architectures

    assert cli.main(["fit", str(tmp_path), "--epochs", "3", "--out", str(tmp_path / "line.onnx")]) == 2
    assert "--epochs: got 3, expected no such option with --head fused" in capsys.readouterr().err
    settings = fit.Settings(preset=architectures.preset("small"), effort=Effort(steps=10, batch=32))
    fit.fit(settings, [history(pump(600)[:, :1])], tmp_path / "small.onnx", lambda line: None)
    views = Model(tmp_path / "small.onnx", gpu="off", threads=1).card.training["views"]
    assert {"fault odds", "embedded"} <= {view["name"] for view in views}
