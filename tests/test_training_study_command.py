"""`anomalyd-train study` as a user runs it, on generated data; no TensorFlow."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from training import cli, recipefile
from training.network import architecture_file, layers
from training.study import page_models


def write(file, values, anomaly=None):
    names = ",".join(f"s{k}" for k in range(values.shape[1]))
    label = "" if anomaly is None else ",anomaly"
    lines = [f"timestamp,{names}{label}"]
    for k, row in enumerate(values.tolist()):
        lines.append(
            ",".join([str(10 * k), *(f"{v:.5f}" for v in row), *([] if anomaly is None else [str(anomaly[k])])])
        )
    file.write_text("\n".join(lines) + "\n")
    return file


def signal_of(rows=900, seed=0):
    rng = np.random.default_rng(seed)
    return np.sin(2 * np.pi * np.arange(rows)[:, None] / 25) + 0.1 * rng.standard_normal((rows, 1))


def study(data, out, *words, minutes=0):
    return cli.main(["study", str(data), "--out", str(out), "--jobs", "1", "--minutes", str(minutes), *map(str, words)])


@pytest.fixture(scope="module")
def normal(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "line.csv", signal_of())


@pytest.fixture(scope="module")
def studied(normal, tmp_path_factory):
    out = tmp_path_factory.mktemp("studied")
    assert study(normal, out, "--sizes", "16,32,512", "--budget-ms", "500") == 0
    return out


def test_the_answer_has_its_reasons_candidates_and_characteristics(studied):
    found = json.loads((studied / "study.json").read_text())
    best = found["recommended"]
    assert best["sizes_say"]["window"] in (16, 32)
    assert (best["architecture"], best["window"]) == ("fused", best["sizes_say"]["window"])
    assert best["without_options"] == {"architecture": "fused", "window": 128}
    assert best["compared"].startswith("Without options")
    assert best["why"]
    assert best["uncertain"]
    assert {(one["detector"], one["window"]) for one in found["candidates"]} == {
        (name, window) for name in ("knn", "whitening") for window in (16, 32)
    }
    for one in found["candidates"]:
        assert 0 < one["quality"] <= 1
        assert one["stderr"] > 0
        assert one["latency_ms"] > 0
        assert 0 < one["training_s"] < 10
        assert 20 < one["training_mb"] < 2000
        assert one["first_score_s"] == 10.0 * one["window"]
        assert one["provider"] == "CPUExecutionProvider"
    assert found["left_out"] == [{"detector": "any", "window": 512, "why": "900 fitting rows; 2,048 needed"}]
    assert found["characteristics"]["group"]["period"] == pytest.approx(25, abs=0.5)
    assert not found["labelled"]


def test_the_recipe_is_one_that_fit_takes(studied, normal):
    window = json.loads((studied / "study.json").read_text())["recommended"]["window"]
    plan = recipefile.read(studied / "recipe.toml").plan
    assert plan.paths == (normal,)
    assert (plan.head, plan.window) == ("fused", window)
    assert layers.field(architecture_file.read(studied / "architecture.toml")) == window


def test_the_page_is_whole_and_fetches_nothing(studied):
    page = (studied / "report.html").read_text()
    assert "Take " in page
    for chart in ("quality against size", "quality against cost", "receptive fields", "power over periods"):
        assert f'aria-label="{chart}' in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_same_command_again_judges_nothing_anew(studied, normal):
    before = (studied / "rounds.jsonl").read_text()
    assert study(normal, studied, "--sizes", "16,32,512", "--budget-ms", "500") == 0
    assert (studied / "rounds.jsonl").read_text() == before


def test_other_data_in_the_same_folder_are_refused(studied, tmp_path, capsys):
    other = write(tmp_path / "other.csv", signal_of(seed=3))
    assert study(other, studied, "--sizes", "16,32,512") == 2
    assert "another --out" in capsys.readouterr().err


def test_labels_are_used_where_there_are_any(tmp_path, capsys):
    values, anomaly = signal_of(1500), np.zeros(1500, int)
    for start in (900, 1200):
        values[start : start + 60] += 3
        anomaly[start : start + 60] = 1
    data = write(tmp_path / "line.csv", values, anomaly)
    assert study(data, tmp_path / "out", "--sizes", "16,64", "--json", "--budget-ms", "500") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["labelled"]
    assert found["recommended"]["sizes_say"]["window"] in (16, 64)
    judged = [one for one in found["candidates"] if one["trials"]]
    assert all(one["recall"] is not None for one in judged)
    assert max(one["quality"] for one in judged) > 0.7


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_models_and_networks_are_judged_beside_each_other_as_long_as_there_is_time(tmp_path, capsys):
    data = write(tmp_path / "line.csv", signal_of(600))
    assert study(data, tmp_path / "out", "--sizes", "16,32", "--budget-ms", "500", minutes=0.7) == 0
    found = json.loads((tmp_path / "out" / "study.json").read_text())
    judged = {one["model"]: one for one in found["models"] if one["quality"] is not None}
    assert judged["fused"]["training_s"] > 0.1
    assert judged["fused"]["training_mb"] > judged["knn"]["training_mb"]
    left = [one for one in found["models_left_out"] if "the time was up" in one["why"]]
    assert len(judged) + len(left) >= 10
    groups = {one["group"] for one in found["networks"]}
    assert {"for this window", "to see 25 rows", "kernel against input"} <= groups
    by_name = {(one["architecture"], one["window"]): one for one in found["networks"]}
    for one in found["models"]:
        if (one["model"], one["window"]) in by_name:
            assert by_name[one["model"], one["window"]]["quality"] == one["quality"]
    said = capsys.readouterr().out
    assert "models for it, networks among them" in said
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Models for this window" in page
    assert found["minutes_were_enough"] is not bool(left)
    assert ("not enough to end this race" in page) is ("not enough to end this race" in said) is bool(left)


def test_a_page_of_models_that_time_did_not_reach_says_so():
    nobody = {"model": "fused", "window": 64, "quality": None}
    left = [{"model": "fused", "window": 64, "why": "the time was up before it was judged"}]
    about = {"models": [nobody], "models_left_out": left, "minutes": 1.0, "minutes_were_enough": False}
    page = page_models.models(about | {"stopped": False, "labelled": False})
    assert "None were judged" in page
    assert "the time was up" in page
    assert "1 minutes were not enough" in page


@pytest.mark.parametrize(
    ("values", "words", "says"),
    [
        (np.full((500, 1), 5.0), [], "the same value in every row"),
        (signal_of(50), [], "at least 64 normal rows"),
        (signal_of(500), ["--budget-ms", "0.000001"], "what the nearest candidate needs"),
        (signal_of(500), ["--budget-mb", "0"], "numbers above 0"),
        (signal_of(500), ["--sizes", "512"], "--sizes 125 or less"),
        (signal_of(500), ["--minutes", "-1"], "0 for none"),
        (signal_of(500), ["--sizes", "many"], "auto, or whole numbers"),
        (signal_of(500), ["--detectors", "magic"], "some of knn"),
    ],
)
def test_what_cannot_be_is_told_in_one_message(tmp_path, capsys, values, words, says):
    assert study(write(tmp_path / "line.csv", values), tmp_path / "out", *words) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out" / "study.json").exists()


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told(normal, tmp_path, capsys):
    assert study(normal, tmp_path / "out", "--provider", "cuda", "--sizes", "16") == 2
    assert "--provider" in capsys.readouterr().err


def test_ctrl_c_leaves_a_report_of_what_is_known(normal, tmp_path):
    words = ["study", str(normal), "--out", str(tmp_path), "--jobs", "1", "--sizes", "16,24,32,48,64,96,128"]
    code = f"import sys; from training.cli import main; sys.exit(main({[*words, '--budget-ms', '500']!r}))"
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    root = Path(__file__).resolve().parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=env
    ) as running:
        for line in running.stderr:
            if line.startswith("sizes, rung 1"):
                break
        running.send_signal(signal.SIGINT)
        said = running.stderr.read()
        assert running.wait(60) == 1, said
    assert "stopped" in said
    found = json.loads((tmp_path / "study.json").read_text())
    assert found["stopped"]
    assert found["recommended"]["sizes_say"]["window"] in (16, 24, 32, 48, 64, 96, 128)
    assert "Stopped early" in (tmp_path / "report.html").read_text()
