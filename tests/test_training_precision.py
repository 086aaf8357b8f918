"""A model in fewer bits runs in the daemon, ranks as the float32 file does, and is not written where it does not."""

from __future__ import annotations

import importlib.util
import json
import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from daemon.core.model import Model
from tests import models
from tests.test_training_classed import pack as labelled_pack
from training import cli
from training.baselines import knn, whitening
from training.history import data
from training.judge import ranking
from training.network.precision import eight, half, material, quality, trunk

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
TENSORFLOW = importlib.util.find_spec("tensorflow") is not None or "ANOMALYD_CI" in os.environ
fits = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("default"),  # TensorFlow and tf2onnx warn of themselves
    pytest.mark.skipif(not TENSORFLOW, reason="tensorflow is not installed: pip install anomalyd[training]"),
]
PRECISIONS = ("fp16", "int8")
WINDOW, CHANNELS, TRAIN_END = 32, ("flow", "heat"), 2400


def plant(rows, seed=0):
    rng = np.random.default_rng(seed)
    t = np.arange(float(rows))
    values = np.stack([np.sin(t / 5), 0.2 * np.cos(t / 9) + 100], axis=1)
    return (values + [0.05, 0.02] * rng.standard_normal((rows, 2))).astype(np.float32)


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """A pack of one series with two labelled events behind its fitting rows."""
    folder = tmp_path_factory.mktemp("line") / "pack"
    values, anomaly = plant(3200), np.zeros(3200, bool)
    for start in (2600, 2900):
        values[start : start + 40, 0] += 1.5
        anomaly[start : start + 40] = True
    one = data.History("line.csv", CHANNELS, np.arange(3200.0), values, anomaly, 1.0, TRAIN_END)
    data.write(folder, [one])
    return folder


@pytest.fixture(scope="module")
def files(line):
    """Models of that pack, by head; no TensorFlow."""
    made = {}
    for name, recipe in (("whitening", whitening), ("knn", knn)):
        made[name] = line.parent / f"{name}.onnx"
        recipe.fit(data.read(line), WINDOW, 1, made[name])
    return made


def export(model, where, out, precision, *words):
    return cli.main(["export", str(model), "--precision", precision, "--data", str(where), "--out", str(out), *words])


def held_windows(rows, window):
    held = rows[int(len(rows) * 0.75) :]
    return np.lib.stride_tricks.sliding_window_view(held, window, 0).swapaxes(1, 2)


def agree(before, after, x):
    """The files rank faults of all sizes alike, and a window's outputs do not depend on its batch-mates."""
    x = x.copy()
    x[:, -8:, 0] += np.geomspace(0.1, 5, len(x), dtype=np.float32)[:, None]
    one, other = before.run(x), after.run(x)
    assert quality.correlation(one.score, other.score) > 0.95
    for name in ("score", "class_probability", "channel_score", "time_score"):
        whole = getattr(other, name)
        assert (whole is None) == (getattr(one, name) is None)
        if whole is not None:
            alone = np.concatenate([getattr(after.run(x[k : k + 1]), name) for k in range(len(x))])
            assert whole.dtype == np.float32
            assert (np.abs(alone - whole) <= 1e-3 * np.maximum(1, np.abs(whole))).all()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["whitening", "knn"])
def test_a_converted_file_runs_in_the_daemon_and_ranks_as_before(line, files, tmp_path, capsys, name, precision):
    out = tmp_path / "low.onnx"
    assert export(files[name], line, out, precision) == 0
    said = capsys.readouterr().out
    for words in ("AUC of windows", "VUS-PR of judged rows", "windows/s, 1 at once", "windows/s, 256 at once"):
        assert words in said
    before, after = Model(files[name]), Model(out)
    agree(before, after, np.ascontiguousarray(held_windows(plant(TRAIN_END), WINDOW)[::9]))
    assert out.stat().st_size < files[name].stat().st_size


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_card_says_what_it_is_made_from_and_what_was_measured(line, files, tmp_path, precision):
    out = tmp_path / "low.onnx"
    assert export(files["knn"], line, out, precision) == 0
    card = json.loads({one.key: one.value for one in onnx.load(out).metadata_props}["anomalyd"])
    assert (card["name"], card["precision"]) == (f"knn-{precision}", precision)
    assert card["made_from"]["name"] == "knn"
    measured = card["metrics"]["precision"]
    assert measured["quality"]["auc"]["here"] >= measured["quality"]["auc"]["float32"] - 0.01
    assert [one["batch"] for one in measured["speed"]] == [1, 256]
    assert measured["bytes"]["here"] < measured["bytes"]["float32"]
    assert measured["rank_correlation"] > 0.98


def test_calibration_scores_come_from_the_graph_that_runs(line, files, tmp_path):
    out = tmp_path / "low.onnx"
    assert export(files["knn"], line, out, "int8") == 0
    model, before = Model(out), Model(files["knn"])
    (segment,) = model.card.calibration.segments
    x = np.ascontiguousarray(held_windows(data.read(line)[0].fit_rows(), WINDOW))
    np.testing.assert_allclose(segment, model.run(x).score, atol=1e-4)
    assert np.abs(np.array(segment) - before.run(x).score).max() > 1e-3


def uneven(folder, factor):
    """score = the newest row's distance from its predecessor, by way of two layers: the first also gives the sum of
    all rows, `factor` times as large, which the second leaves out. Eight bits for both leave nothing of the smaller."""
    first, second = np.zeros((WINDOW, 2), np.float32), np.array([[1], [0]], np.float32)
    first[-2:, 0] = [-1, 1]
    first[:, 1] = factor
    nodes = [
        helper.make_node("Flatten", ["window"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "first"], ["both"]),
        helper.make_node("MatMul", ["both", "second"], ["step"]),
        helper.make_node("Abs", ["step"], ["size"]),
        helper.make_node("Squeeze", ["size", "along"], ["score"]),
    ]
    constants = {"first": first, "second": second, "along": np.array([1])}
    graph = helper.make_graph(
        nodes, "uneven",
        [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", WINDOW, 1])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"anomalyd": json.dumps(models.card(WINDOW, 1, name="uneven"))})
    onnx.save(model, folder / "uneven.onnx")
    return folder / "uneven.onnx"


def test_a_loss_beyond_the_limit_is_refused_with_both_figures_and_nothing_written(line, tmp_path, capsys):
    out = tmp_path / "out" / "low.onnx"
    assert export(uneven(tmp_path, 1000), line, out, "int8") == 2
    heard = capsys.readouterr()
    assert "AUC of windows that were not fitted" in heard.out  # the table with all of it
    assert "not written, AUC of windows that were not fitted in int8: got 0." in heard.err
    assert "less --most-loss 0.01" in heard.err
    assert not list(out.parent.iterdir())


def test_values_that_leave_float16_are_refused_though_a_cpu_would_not_show_it(line, tmp_path, capsys):
    out = tmp_path / "out" / "low.onnx"
    assert export(uneven(tmp_path, 1000), line, out, "fp16") == 2
    assert "at most 65,504: float16 ends there" in capsys.readouterr().err
    assert not out.exists()


def test_a_model_for_any_sensor_keeps_its_cold_start(line, tmp_path):
    source = uneven(tmp_path, 0)
    assert export(source, line, tmp_path / "low.onnx", "fp16") == 0
    assert Model(tmp_path / "low.onnx").card.calibration.segments == []


def test_what_cannot_be_converted_is_said_and_leaves_no_file(line, files, tmp_path, capsys):
    out = tmp_path / "out" / "low.onnx"
    low = tmp_path / "int8.onnx"
    assert export(files["knn"], line, low, "int8") == 0
    other, short = tmp_path / "other", tmp_path / "short.csv"
    data.write(other, [data.History("x.csv", ("a", "b", "c"), np.arange(900.0), np.zeros((900, 3), np.float32),
                                    np.zeros(900, bool), 1.0, 900)])  # fmt: skip
    short.write_text("timestamp,flow,heat\n" + "\n".join(f"{t},{t % 7},{t % 5}" for t in range(120)) + "\n")
    plain = models.mean_abs(tmp_path, WINDOW, 2)
    for model, where, says in (
        (files["knn"], tmp_path / "absent", "--data: got"),
        (files["knn"], other, "columns: got a, b, c, expected the model's 2 channels: flow, heat"),
        (files["knn"], short, "rows for fitting: got 120, expected 65 in their newest quarter"),
        (low, line, "precision: got INT8, UINT8, QuantizeLinear, expected a float32 model"),
        (plain, line, "layers: got none, expected one of Conv, MatMul, Gemm with weights"),
        (tmp_path / "absent.onnx", line, "nothing there"),
    ):
        assert export(model, where, out, "int8") == 2
        assert says in capsys.readouterr().err
        assert not out.exists()
    before = files["knn"].read_bytes()
    assert export(files["knn"], line, files["knn"], "int8") == 2
    assert files["knn"].read_bytes() == before


def test_every_stretch_that_fit_held_back_calibrates_also_one_too_short_to_judge_by(files):
    def one(rows, name):
        return data.History(name, CHANNELS, np.arange(float(rows)), plant(rows), np.zeros(rows, bool), 1.0, rows)

    found = material.history([one(2400, "a"), one(200, "b"), one(90, "c")], Model(files["knn"]).card)
    assert [len(rows) for rows in found.held] == [600, 50]  # a quarter each; 90 rows are less than three windows
    assert len(found.probes) > 2000


def test_only_the_trunk_is_converted(files):
    model = trunk.load(files["whitening"])
    assert [node.op_type for node in trunk.layers(model)] == ["MatMul"]  # channel_score's two are for explaining
    low = half.convert(model)
    assert [node.op_type for node in low.graph.node].count("Cast") == 2
    assert {one.type.tensor_type.elem_type for one in [*low.graph.input, *low.graph.output]} == {TensorProto.FLOAT}
    windows = held_windows(plant(TRAIN_END), WINDOW)[:64]
    kinds = [node.op_type for node in eight.convert(model, windows).graph.node]
    assert kinds.count("MatMul") == 3
    assert kinds.count("QuantizeLinear") > 0


def test_ranking_figures_are_those_of_their_definitions():
    score, truth = np.array([1, 2, 2, 3, 0], np.float32), np.array([False, True, False, True, False])
    pairs = [(a > b) + 0.5 * (a == b) for a in score[truth] for b in score[~truth]]
    assert ranking.auc(score, truth) == pytest.approx(np.mean(pairs))
    assert ranking.auc(score, np.zeros(5, bool)) == 0.5
    assert quality.correlation(score, np.exp(score)) == pytest.approx(1)
    assert quality.correlation(score, -score) == pytest.approx(-1)


class TestFitted:
    """Networks, fitted by the command as a user would."""

    pytestmark = fits

    @pytest.mark.parametrize("preset", ["small", "lean-64"])
    @pytest.mark.parametrize("head", ["faults", "forecast", "reconstruct"])
    def test_every_head_and_trunk_converts(self, line, tmp_path, head, preset):
        file = tmp_path / "line.onnx"
        sizes = ["--windows", "2000", "--epochs", "4", "--batch", "64"]
        assert cli.main(["fit", str(line), "--out", str(file), "--head", head, "--preset", preset, *sizes]) == 0
        x = np.ascontiguousarray(held_windows(plant(TRAIN_END), 64)[::19])
        for precision in PRECISIONS:
            assert export(file, line, tmp_path / "low.onnx", precision, "--most-loss", ".05") == 0
            agree(Model(file), Model(tmp_path / "low.onnx"), x)

    def test_a_classifier_is_judged_by_its_labels(self, tmp_path, capsys):
        where, file = labelled_pack(tmp_path / "machines"), tmp_path / "classes.onnx"
        reading = ["--label", "state"]
        sizes = ["--window", "32", "--epochs", "6", "--per-class", "300"]
        assert cli.main(["fit", str(where), "--head", "classify", "--out", str(file), *sizes, *reading]) == 0
        assert export(file, where, tmp_path / "low.onnx", "int8", *reading, "--most-loss", ".05") == 0
        assert "accuracy of classes" in capsys.readouterr().out
        assert Model(tmp_path / "low.onnx").card.classes == Model(file).card.classes
