"""`anomalyd-train fit` as a user meets it: killed, interrupted, gone on with, repeated; every head the same."""

import csv
import dataclasses
import importlib.util
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from daemon.core.model import Model
from training import cli
from training.history import data

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
TENSORFLOW = importlib.util.find_spec("tensorflow") is not None or "ANOMALYD_CI" in os.environ
HEADS = ("faults", "forecast", "reconstruct", "classify")
ROWS, WINDOW = 3000, 32

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("default"),  # TensorFlow and tf2onnx warn of themselves
    pytest.mark.skipif(not TENSORFLOW, reason="tensorflow is not installed: pip install anomalyd[training]"),
]


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    """A labelled pack of two sensors: normal at first, then an event of 100 rows in each 300."""
    rng = np.random.default_rng(0)
    t = np.arange(float(ROWS))
    values = np.stack([np.sin(t / 5), 0.2 * np.cos(t / 9) + 100], axis=1) + 0.05 * rng.standard_normal((ROWS, 2))
    events = (t >= 900) & (t % 300 >= 150) & (t % 300 < 250)
    values[events, 0] += 2
    folder = tmp_path_factory.mktemp("plant")
    one = data.History("line.csv", ("flow", "heat"), t, values.astype(np.float32), events, 1.0, 1000)
    data.write(folder, [one])
    return folder


@pytest.fixture(scope="module")
def windows():
    rng = np.random.default_rng(1)
    return (rng.standard_normal((50, WINDOW, 2)) + np.array([0, 100])).astype(np.float32)


def words(plant, out, head, epochs=6):
    drawn = ["--per-class", "60"] if head == "classify" else ["--windows", "600"]
    sizes = ["--window", str(WINDOW), "--epochs", str(epochs), "--patience", str(epochs), "--batch", "32", *drawn]
    return [str(plant), "--out", str(out), "--head", head, *sizes]


def fit(*arguments):
    return cli.main(["fit", *map(str, arguments)])


def ended_at(line, how, arguments, folder):
    """Start `fit` as a process of its own, send it a signal as soon as it says this, and return (status, its words)."""
    process = subprocess.Popen(
        [sys.executable, "-m", "training.cli", "fit", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    said = []
    for text in process.stdout:
        said.append(text)
        if text.startswith(line):
            process.send_signal(how)
            break
    out, error = process.communicate(timeout=120)
    return process.returncode, "".join(said) + out + error


@pytest.fixture(scope="module")
def unbroken(plant, tmp_path_factory):
    """A run of each head that nobody disturbed: head -> its model file."""
    folder = tmp_path_factory.mktemp("unbroken")
    for head in HEADS:
        assert fit(*words(plant, folder / f"{head}.onnx", head)) == 0
    return folder


def scores(file, windows):
    return Model(file).run(windows).score


@pytest.mark.parametrize(
    ("head", "line"), [*((head, "epoch 3/") for head in HEADS), ("forecast", "fitting"), ("forecast", "epoch 5/")]
)
def test_a_killed_fit_goes_on_to_the_model_of_an_unbroken_one(plant, unbroken, windows, tmp_path, head, line):
    file = tmp_path / f"{head}.onnx"
    status, said = ended_at(line, signal.SIGKILL, words(plant, file, head), tmp_path)
    assert status == -signal.SIGKILL, said
    assert not file.exists()
    assert fit("--resume", "--out", file) == 0
    log = (tmp_path / f"{head}.run/log.txt").read_text()
    assert ("going on after epoch" if line != "fitting" else "from the beginning") in log
    assert log.count("epoch 2/6") == 1
    assert np.allclose(scores(file, windows), scores(unbroken / f"{head}.onnx", windows), rtol=1e-5, atol=1e-5)
    curves = [tmp_path / f"{head}.run/curves.csv", unbroken / f"{head}.run/curves.csv"]
    mine, theirs = ([row[:3] for row in csv.reader(one.read_text().splitlines())] for one in curves)
    assert mine == theirs
    assert len(mine) == 7


@pytest.mark.parametrize("head", HEADS)
def test_ctrl_c_exports_the_best_epoch_so_far(plant, windows, tmp_path, head):
    file = tmp_path / f"{head}.onnx"
    # so many epochs that the signal cannot come too late
    status, said = ended_at("epoch 2/", signal.SIGINT, words(plant, file, head, epochs=2000), tmp_path)
    assert status == 0, said
    assert re.search(r"stopped after epoch \d+; keeping epoch \d+", said)
    result = json.loads((tmp_path / f"{head}.run/result.json").read_text())
    assert result["interrupted"]
    assert 2 <= result["epochs"] < 2000
    assert np.isfinite(scores(file, windows)).all()


@pytest.mark.parametrize("head", HEADS)
def test_the_recipe_of_a_run_makes_the_same_model_again(unbroken, windows, tmp_path, head, capsys):
    file = tmp_path / "again.onnx"
    assert fit("--recipe", unbroken / f"{head}.run/recipe.toml", "--out", file) == 0
    assert "data: the same fingerprint as in the recipe" in capsys.readouterr().out
    assert np.allclose(scores(file, windows), scores(unbroken / f"{head}.onnx", windows), rtol=1e-5, atol=1e-5)
    assert Model(file).card.name == head


def test_the_recipe_on_changed_data_says_so(plant, unbroken, tmp_path, capsys):
    moved = shutil.copytree(plant, tmp_path / "moved")
    text = (moved / "line.csv").read_text()
    (moved / "line.csv").write_text(text.replace("\n10.0,", "\n10.0,9", 1))
    recipe = unbroken / "forecast.run/recipe.toml"
    assert fit(moved, "--recipe", recipe, "--out", tmp_path / "again.onnx", "--epochs", 1) == 0
    assert "data: another fingerprint than the recipe's" in capsys.readouterr().out


@pytest.mark.parametrize("head", HEADS)
def test_the_log_holds_what_was_printed_and_names_the_device(plant, tmp_path, capsys, head):
    assert fit(*words(plant, tmp_path / "m.onnx", head, epochs=1), "--run", tmp_path / "kept") == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "kept/log.txt").read_text() == printed
    assert re.search(r"^device: (CPU|GPU), ", printed, re.MULTILINE)
    assert re.search(r"^epoch 1/1 loss=[\d.]+ check=[\d.]+ left=0s$", printed, re.MULTILINE)


@pytest.mark.parametrize("head", [head for head in HEADS if head != "classify"])  # its twin is in test_training_compare
def test_patience_ends_a_fit_that_gets_no_better(plant, tmp_path, head):
    file = tmp_path / "m.onnx"
    assert fit(*words(plant, file, head), "--epochs", 300, "--patience", 2, "--preset", "lean-64", "--window", 64) == 0
    result = json.loads((tmp_path / "m.run/result.json").read_text())
    assert result["epochs"] == result["best"] + 2 < 300
    assert not result["interrupted"]


@pytest.mark.parametrize("apart", [0.0, 100.0])
def test_series_that_have_nothing_in_common_are_warned_of(plant, tmp_path, capsys, apart):
    (one,) = data.read(plant)
    for k in range(3):
        moved = dataclasses.replace(
            one, name=f"{k}.csv", values=one.values + np.float32(k * apart) * np.float32([1, 0])
        )
        data.write(tmp_path / f"pack-{k}", [moved])
    packs = [str(tmp_path / f"pack-{k}") for k in range(3)]
    words = ["--out", tmp_path / "m.onnx", "--head", "forecast", "--windows", "300", "--epochs", "1"]
    assert fit(*packs, *words) == 0
    said = "warning: most of the 3 series move less than a tenth of the spread over all in flow: "
    assert (said in capsys.readouterr().out) == (apart > 0)


def test_classes_are_learnt_by_an_architecture_of_ones_own(plant, tmp_path):
    (tmp_path / "mine.toml").write_text(
        'layers = [{kind = "conv", filters = 8, kernel = 3}, {kind = "global-max"}, {kind = "dense", units = 8}]\n'
    )
    file = tmp_path / "m.onnx"
    assert fit(*words(plant, file, "classify", 2), "--architecture", tmp_path / "mine.toml") == 0
    assert (Model(file).card.head, Model(file).card.training["architecture"]) == ("classify", "mine")
    assert fit("--recipe", tmp_path / "m.run/recipe.toml", "--out", tmp_path / "n.onnx") == 0
    assert Model(tmp_path / "n.onnx").card.training["architecture"] == "mine"


def test_a_state_that_is_broken_is_named(plant, tmp_path, capsys):
    file = tmp_path / "m.onnx"
    assert fit(*words(plant, file, "forecast", 2)) == 0
    (tmp_path / "m.run/last.npz").write_bytes(b"PK nothing")
    assert fit("--resume", "--out", file) == 2
    assert "last.npz: state: got" in capsys.readouterr().err


def test_a_terminal_shows_how_far_an_epoch_is(plant, tmp_path):
    ours, theirs = pty.openpty()
    arguments = words(plant, tmp_path / "m.onnx", "forecast", 1)
    done = subprocess.run(
        [sys.executable, "-m", "training.cli", "fit", *arguments], stdout=subprocess.PIPE, stderr=theirs, timeout=120
    )
    os.close(theirs)
    assert done.returncode == 0
    assert re.search(rb"\r\x1b\[Kepoch 1/1 \d+% loss=[\d.]+ left=\d+s", os.read(ours, 65536))
    assert b"\x1b" not in done.stdout
    os.close(ours)
