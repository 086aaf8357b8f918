import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from sklearn import metrics
from sklearn.utils.class_weight import compute_class_weight

from daemon.core.model import Model
from daemon.errors import DataError
from tests.test_training_classed import CLASSES, labelled, pack
from training import cli
from training.judge import classes, comparing, comparison, plot
from training.judge.comparison import Comparison, Run
from training.network.heads import classify

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
TENSORFLOW = importlib.util.find_spec("tensorflow") is not None or "ANOMALYD_CI" in os.environ
fits = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("default"),  # TensorFlow and tf2onnx warn of themselves
    pytest.mark.skipif(not TENSORFLOW, reason="tensorflow is not installed: pip install anomalyd[training]"),
]


def with_fit(test):
    for mark in fits:
        test = mark(test)
    return test


def a_run(architecture="small", window=64, seed=1, f1=0.9, macs=1000):
    per_class = {name: {"precision": f1, "recall": f1, "f1": f1, "windows": 5} for name in CLASSES}
    counts = {part: dict.fromkeys(CLASSES, 5) for part in ("train", "check", "test")}
    return Run(
        architecture, window, seed, 10, macs, 3, counts, 4, 3, 1.5, 500, 400, 9000, f1, f1, f1, f1, per_class,
        [[5, 0, 0]] * 3, 2.0,
    )  # fmt: skip


def known(*runs):
    about = {"data": "p", "classes": list(CLASSES), "epochs": 3}
    return Comparison(about, {run.key: run for run in runs})


@pytest.mark.parametrize("seed", range(5))
def test_figures_of_classes_equal_those_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, 300).astype(np.int32)
    guess = np.where(rng.random(300) < 0.6, truth, rng.integers(0, 3, 300)).astype(np.int32)  # class 3 is hard
    found = classes.report(truth, guess, ["a", "b", "c", "d"])
    columns = metrics.precision_recall_fscore_support(truth, guess, labels=range(4), zero_division=0)
    for k, name in enumerate("abcd"):
        got = [found["per_class"][name][key] for key in ("precision", "recall", "f1", "windows")]
        assert got == pytest.approx([column[k] for column in columns], abs=1e-4)
    macro = metrics.precision_recall_fscore_support(truth, guess, average="macro", zero_division=0)
    assert list(found["macro"].values()) == pytest.approx(macro[:3], abs=1e-4)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, guess), abs=1e-4)
    assert (classes.confusion(truth, guess, 4) == metrics.confusion_matrix(truth, guess, labels=range(4))).all()


def test_class_weights_equal_those_of_scikit_learn():
    y = np.array([0] * 70 + [1] * 20 + [2] * 10, np.int32)
    want = compute_class_weight("balanced", classes=np.arange(3), y=y)
    assert list(classify.class_weight(y, 3).values()) == pytest.approx(want)


def test_a_cell_is_mean_and_sample_deviation_over_seeds():
    cells = known(*(a_run(seed=k, f1=f1) for k, f1 in enumerate((0.8, 0.9, 0.7), 1)), a_run("large")).cells()
    assert [(cell.architecture, cell.seeds) for cell in cells] == [("large", (1,)), ("small", (1, 2, 3))]
    assert (cells[1].mean["f1"], cells[1].sd["f1"], cells[0].sd["f1"]) == (0.8, 0.1, 0.0)


def test_what_is_written_is_read_back_and_other_settings_are_not_mixed_in(tmp_path):
    before = known(a_run(), a_run("large", 256, 2, macs=5))
    comparison.write(tmp_path / "c.json", before)
    assert comparison.read(tmp_path / "c.json", before.about).runs == before.runs
    with pytest.raises(DataError, match=r"about.epochs: got 3, expected 4 .*another --out"):
        comparison.read(tmp_path / "c.json", {**before.about, "epochs": 4})
    (tmp_path / "c.json").write_text("[]")
    with pytest.raises(DataError, match="another --out"):
        comparison.read(tmp_path / "c.json", before.about)


def test_the_page_is_whole_by_itself_and_names_what_was_left_out():
    found = known(a_run(f1=0.8), a_run(seed=2), a_run("me<&dium", 256, macs=90_000))
    found.left_out.append(("large", 64, None, "window: got 64, expected enough <rows>"))
    page = comparing.page(found)
    assert not re.search(r"<script|https?://|src=", page)
    assert "enough &lt;rows&gt;" in page
    assert "me&lt;&amp;dium" in page
    charts = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(charts) == 2
    for chart in charts:
        ElementTree.fromstring(chart)
    assert "not run: large at 64: window" in comparing.text(found)
    assert "0.850 ±0.071" in comparing.text(found)


def test_a_chart_puts_higher_values_higher_and_shows_their_spread():
    lines = [plot.Line("a", [(64, 0.5, 0.1, "low"), (1024, 0.9, 0.0, "high")])]
    chart = ElementTree.fromstring(plot.over_log("t", "x", "y", lines, (64, 1024)))
    points = {point[0].text: point for point in chart.iter("circle") if len(point)}
    assert float(points["high"].get("cy")) < float(points["low"].get("cy"))
    assert float(points["high"].get("cx")) > float(points["low"].get("cx"))
    bars = [path for path in chart.iter("path") if "V" in path.get("d") and path.get("stroke")]
    assert len(bars) == 1


def command(data, out, *more):
    options = ["--label", "state", "--epochs", "2", "--per-class", "60", "--seeds", "2", "--sizes", "4,16"]
    return ["compare", str(data), "--out", str(out), "--architectures", "small,medium", *options, *more]


@with_fit
def test_a_comparison_runs_from_data_to_page_and_goes_on_where_it_stopped(tmp_path, capsys):
    data, out = pack(tmp_path / "data"), tmp_path / "out"
    assert cli.main(command(data, out, "--budget-s", "1")) == 0
    first = json.loads((out / "compare.json").read_text())
    assert len(first["runs"]) == 1
    whys = {(one["architecture"], one["window"], one["seed"]): one["why"] for one in first["left_out"]}
    assert whys["medium", 4, None].startswith("window: got 4, expected")
    assert "--budget-s" in whys["medium", 16, 2]
    capsys.readouterr()
    assert cli.main(command(data, out, "--json")) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert found == json.loads((out / "compare.json").read_text())
    assert "1 of 6 runs are there already" in told.err
    assert first["runs"][0] in found["runs"]
    assert {(run["architecture"], run["window"]) for run in found["runs"]} == {
        ("small", 4),
        ("small", 16),
        ("medium", 16),
    }
    assert len(found["runs"]) == 6
    for run in found["runs"]:
        assert sum(map(sum, run["confusion"])) == sum(run["windows"]["test"].values())
        assert min(run["train_s"], run["windows_per_s"], run["base_memory_mib"]) > 0
        assert run["peak_memory_mib"] >= run["base_memory_mib"] > 50
    assert (out / "compare.html").read_text().count("<svg") == 2
    assert cli.main(command(data, out, "--batch", "32")) == 2
    assert "about.batch: got 64, expected 32" in capsys.readouterr().err


@with_fit
def test_ctrl_c_keeps_what_is_known(tmp_path):
    data, out = pack(tmp_path / "data"), tmp_path / "out"
    words = [sys.executable, "-m", "training.cli", *command(data, out)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("1/6"):
                process.send_signal(signal.SIGINT)
                break
        told = process.stderr.read()
        assert process.wait(60) == 1
    assert "the same command goes on" in told
    found = json.loads((out / "compare.json").read_text())
    assert len(found["runs"]) >= 1
    assert len(found["runs"]) + sum(one["why"] == "not yet" for one in found["left_out"]) == 6
    assert "not yet" in (out / "compare.html").read_text()


@with_fit
def test_a_classifier_is_fitted_exported_and_run_by_the_daemons_model(tmp_path, capsys):
    data, file = pack(tmp_path / "data"), tmp_path / "c.onnx"
    words = ["fit", str(data), "--head", "classify", "--label", "state", "--out", str(file), "--window", "32"]
    assert cli.main([*words, "--epochs", "15"]) == 0
    assert "macro F1" in capsys.readouterr().out
    model = Model(file, threads=1)
    assert (model.card.head, tuple(model.card.classes), model.card.normal_class) == (
        "classify",
        CLASSES_SORTED,
        "normal",
    )
    assert model.card.calibration.segments
    assert model.card.metrics["check"]["macro"]["f1"] > 0.9
    series = labelled(data)
    values, label = series[0].values, series[0].label
    x = np.stack([values[k : k + 32] for k in range(0, len(values) - 32, 16)])
    y = np.array(
        [label[k : k + 32].max() if len(set(label[k : k + 32])) == 1 else -1 for k in range(0, len(values) - 32, 16)]
    )
    out = model.run(x)
    assert np.allclose(out.class_probability.sum(axis=1), 1, atol=1e-5)
    assert np.allclose(out.score, -np.log(np.maximum(out.class_probability[:, 0], 1e-30)), atol=1e-2, rtol=1e-2)
    assert out.score[y > 0].min() > np.median(out.score[y == 0])
    assert (out.class_probability.argmax(axis=1)[y >= 0] == y[y >= 0]).mean() > 0.9


CLASSES_SORTED = ("normal", "loose", "worn")


@with_fit
def test_training_stops_early_and_keeps_its_best_epoch(tmp_path):
    from training import classify as recipe
    from training.history import classed

    split = classed.split(labelled(pack(tmp_path)), 32, per_class=100)
    rng = np.random.default_rng(0)
    nonsense = replace(split.check.windows, y=rng.permutation(split.check.windows.y))  # what is learnt makes it worse
    split = replace(split, check=replace(split.check, windows=nonsense))
    learnt = recipe.learn(split, recipe.Settings(epochs=40, patience=3), lambda line: None)
    checked = [loss for _, loss in learnt.fitted.history]
    assert len(checked) == learnt.fitted.best + 4 < 40
    assert checked[learnt.fitted.best] == min(checked)
