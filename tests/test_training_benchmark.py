"""`anomalyd-train benchmark` on packs of the simulator; no TensorFlow but for what is marked slow."""

import csv
import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from daemon import cli as daemon_cli
from daemon.core.model import Model
from tests import histories
from training import cli, registry
from training.history import data, simulate
from training.judge import benchmark, crew, evaluate, results
from training.judge.results import Row


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """Six single sensors, half of them with a fault."""
    folder = tmp_path_factory.mktemp("packs") / "mini"
    assert cli.main(["simulate", "--out", str(folder), "--sensors", "6", "--rows", "1500", "--seed", "8"]) == 0
    return folder


@pytest.fixture(scope="module")
def asset():
    return histories.asset()


def rows_of(file):
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def run(folder, out, *words, recipe="whitening"):
    return cli.main(
        [
            "benchmark",
            str(folder),
            "--recipe",
            recipe,
            "--out",
            str(out),
            "--seeds",
            "1",
            "--jobs",
            "1",
            *map(str, words),
        ]
    )


def test_every_series_has_a_row_and_then_come_the_means(tmp_path, pack):
    out = tmp_path / "results.csv"
    assert run(pack, out, "--models", tmp_path / "models") == 0
    rows = rows_of(out)
    assert list(rows[0]) == [
        "pack", "file", "recipe", "window", "head", "seed", "vus_pr", "vus_pr_random", "event_recall",
        "event_precision", "event_f1", "false_alarms_per_10k", "normal_time_in_alarm",
        "normal_time_in_alarm_with_tail", "delay_points", "events", "events_hit", "true_alarms", "false_alarms",
        "normal_rows", "normal_rows_in_alarm", "tail_rows", "tail_rows_in_alarm", "streams", "train_s",
        "score_us_per_window", "note",
    ]  # fmt: skip
    series = data.read(pack)
    assert [row["file"] for row in rows] == [*sorted(one.name for one in series), "mean"]
    mean = rows.pop()
    assert (mean["note"], mean["window"], mean["head"]) == ("6 series", "64", "whitening")
    known = [float(row["vus_pr"]) for row in rows if row["vus_pr"]]
    assert len(known) == 3  # the others have no event: a blank, out of the mean
    assert float(mean["vus_pr"]) == pytest.approx(np.mean(known), rel=1e-4)
    for row, one in zip(rows, sorted(series, key=lambda one: one.name), strict=True):
        model = Model(tmp_path / "models" / f"whitening-{one.name.split('.')[0]}.onnx", threads=1)
        judged = evaluate.series(model, one)
        assert row["vus_pr"] == ("" if judged.vus_pr is None else f"{judged.vus_pr:.6g}")
        assert float(row["false_alarms_per_10k"]) == pytest.approx(judged.alarms.false_per_10k, rel=1e-5)
        assert int(row["false_alarms"]) == judged.alarms.false
        assert int(row["normal_rows"]) + int(row["tail_rows"]) == int((~one.anomaly[one.train_end :]).sum())
        assert row["streams"] == "1"


def test_the_scores_are_those_that_anomalyd_replay_writes(tmp_path, pack):
    out, models = tmp_path / "results.csv", tmp_path / "models"
    assert run(pack, out, "--limit", 2, "--scores", tmp_path / "scores", "--models", models, recipe="knn") == 0
    for one in data.read(pack)[:2]:
        stem = one.name.split(".")[0]
        model, replayed = models / f"knn-{stem}.onnx", tmp_path / f"{stem}-replayed.csv"
        words = ["replay", str(pack / one.name), "--model", str(model), "--hop", "1", "--out", str(replayed)]
        assert daemon_cli.main(words) == 0
        ours, theirs = rows_of(tmp_path / "scores" / f"{stem}.csv"), rows_of(replayed)
        assert list(ours[0]) == ["timestamp", "sensor", "score", "raw", "alarm"]
        assert len(ours) == len(theirs) == len(one.t) - 63  # one row for each window
        for mine, other in zip(ours, theirs, strict=True):
            assert (mine["timestamp"], mine["sensor"], mine["alarm"]) == (
                other["timestamp"],
                other["sensor"],
                other["alarm"],
            )
            # the batches differ with the speed of the machine, so the last digits of a matrix product may
            assert float(mine["raw"]) == pytest.approx(float(other["raw"]), rel=1e-4, abs=1e-4)
            assert float(mine["score"] or 0) == pytest.approx(float(other["score"] or 0), rel=1e-3, abs=1e-4)


def test_rows_that_are_there_are_kept_and_only_the_others_are_made(tmp_path, pack, capsys):
    out = tmp_path / "results.csv"
    assert run(pack, out, "--limit", 2) == 0
    kept = [dataclasses.replace(row, vus_pr=0.123) for row in results.read(out)]
    results.write(out, [*kept, Row("elsewhere", "x.csv", "knn", 64, "knn", "1", vus_pr=0.5)])
    capsys.readouterr()
    assert run(pack, out, "--limit", 3) == 0
    assert "2 rows are there already" in capsys.readouterr().err
    rows = results.read(out)
    assert [row.vus_pr for row in rows if row.file in {one.file for one in kept}] == [0.123, 0.123]
    assert len(rows) == 4  # what others wrote stays, too
    again = out.read_bytes()
    assert run(pack, out, "--limit", 3) == 0
    assert out.read_bytes() == again
    # another window is another question, and scores that are missing are wanted, too
    assert run(pack, out, "--limit", 3, "--window", 32, "--scores", tmp_path / "scores") == 0
    assert {row.window for row in results.read(out) if row.pack == "mini"} == {32}
    (tmp_path / "scores" / f"{Path(kept[0].file).stem}.csv").unlink()
    capsys.readouterr()
    assert run(pack, out, "--limit", 3, "--window", 32, "--scores", tmp_path / "scores") == 0
    assert "2 rows are there already" in capsys.readouterr().err
    assert len(list((tmp_path / "scores").iterdir())) == 3


def test_interrupted_it_leaves_a_whole_file_and_goes_on_from_there(tmp_path):
    many, out = tmp_path / "many", tmp_path / "results.csv"
    data.write(many, simulate.plant(8, 700, seed=2, rate_hz=50.0, family="demo"))
    words = ["benchmark", str(many), "--recipe", "knn", "--out", str(out), "--seeds", "3", "--jobs", "1"]
    command = [sys.executable, "-m", "training.cli", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("2/8"):
                process.send_signal(signal.SIGINT)
                break
        said = process.stderr.read()
    assert process.returncode == 1, said
    assert "holds what was done" in said
    assert "Traceback" not in said
    done = results.read(out)
    assert 2 <= len(done) < 8
    assert not list(tmp_path.glob("*.part"))
    assert cli.main(words) == 0
    rows = results.read(out)
    assert len(rows) == 8
    assert set(done) <= set(rows)


def test_no_series_fails_for_want_of_rows(tmp_path, pack):
    short = tmp_path / "short"
    a, b, c, d, *_ = data.read(pack)
    data.write(
        short,
        [
            dataclasses.replace(a, name="few.csv", train_end=100),
            dataclasses.replace(b, name="none.csv", train_end=0),
            dataclasses.replace(c, name="tiny.csv", t=c.t[:40], values=c.values[:40], anomaly=c.anomaly[:40]),
            d,
        ],
    )
    out = tmp_path / "results.csv"
    assert run(short, out) == 0
    rows = {row.file: row for row in results.read(out)}
    assert rows["few.csv"].window == 25
    assert rows["few.csv"].note == "window 64 shrunk to 25: 100 fitting rows"
    assert rows["none.csv"].note == "0 fitting rows; any-sensor-64 stands in"
    assert rows["none.csv"].head == "faults"
    assert rows["tiny.csv"].window == 10
    assert rows[d.name].note == ""
    assert all(row.score_us_per_window is not None for row in rows.values())
    assert run(short, tmp_path / "shipped.csv", recipe="shipped") == 0
    (tiny,) = [row for row in results.read(tmp_path / "shipped.csv") if row.file == "tiny.csv"]
    assert tiny.vus_pr is None
    assert "expected at least a window of 64" in tiny.note


def test_a_recipe_that_fails_is_stood_in_for(tmp_path, asset, monkeypatch):
    def fit(series, window, seed, file):
        raise FloatingPointError("no")

    monkeypatch.setitem(registry.RECIPES, "broken", registry.Recipe("broken", "", 64, fit=fit))
    made = benchmark._fit(benchmark.Fitting("broken", 64, 1, (asset,), tmp_path / "m.onnx", (asset,)))
    assert made.note == "broken failed (FloatingPointError); whitening stands in"
    assert Model(made.file).card.head == "whitening"


def test_test_series_without_a_start_of_their_own_share_a_model_of_the_training_series(tmp_path, asset):
    folder, out = tmp_path / "year", tmp_path / "results.csv"
    normal = dataclasses.replace(asset, name="normal.csv", anomaly=np.zeros(1600, bool), train_end=1600, role="train")
    tests = [dataclasses.replace(asset, name=f"attack-{k}.csv", train_end=0) for k in (1, 2)]
    data.write(folder, [normal, *tests])
    assert run(folder, out, "--models", tmp_path / "models") == 0
    assert [file.name for file in (tmp_path / "models").iterdir()] == ["whitening-normal.onnx"]
    assert [row.file for row in results.read(out)] == ["attack-1.csv", "attack-2.csv"]
    assert Model(tmp_path / "models" / "whitening-normal.onnx").card.channels == ["a", "b", "c"]


def test_means_leave_blanks_out_and_several_seeds_have_one_of_their_own():
    rows = [
        Row("p", "a", "r", 64, "h", "1", vus_pr=0.2, event_recall=1.0),
        Row("p", "b", "r", 32, "h", "1", vus_pr=None, event_recall=0.0),
        Row("p", "a", "r", 64, "h", "2", vus_pr=0.4),
        Row("q", "a", "r", 64, "h", "1", vus_pr=1.0),
    ]
    first, second, both, other = results.means(rows)
    assert (first.seed, first.vus_pr, first.event_recall, first.window, first.note) == ("1", 0.2, 0.5, None, "2 series")
    assert (second.seed, second.vus_pr, second.window, second.head) == ("2", 0.4, 64, "h")
    assert (both.seed, both.vus_pr, both.event_f1, both.note) == ("mean", 0.3, None, "2 seeds")
    assert (other.pack, other.vus_pr) == ("q", 1.0)


def test_what_cannot_be_done_is_said_before_any_work(tmp_path, pack, capsys):
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    for words, said in (
        ([str(pack), "--recipe", "magic", "--out", "r.csv"], "expected one of shipped, zscore, ewma, sub-pca"),
        ([str(pack), "--recipe", "knn", "--out", str(other)], "expected pack,file,recipe"),
        ([str(tmp_path / "gone"), "--recipe", "knn", "--out", "r.csv"], "a folder with index.csv"),
        ([str(pack), "--recipe", "shipped", "--window", "32", "--out", "r.csv"], "has its own"),
    ):
        assert cli.main(["benchmark", *words]) == 2
        assert said in capsys.readouterr().err
    assert other.read_text() == "a,b\n1,2\n"
    for wrong in ("0.5", "", "a", "-1"):
        with pytest.raises(SystemExit):
            cli.main(["benchmark", str(pack), "--recipe", "knn", "--out", "r.csv", f"--seeds={wrong}"])


def square(number):
    if number == 3:
        os._exit(9)
    if number == 4:
        raise ValueError("four\nis wrong")
    return number**2, os.environ["OMP_NUM_THREADS"]


def test_a_process_that_dies_or_raises_costs_its_own_job_only():
    with crew.Crew(square, 2) as team:
        for number in (1, 2, 3, 4, 5):
            team.submit(number)
        found = dict(team.results())
    assert {k: found[k] for k in (1, 2, 5)} == {1: (1, "1"), 2: (4, "1"), 5: (25, "1")}
    assert found[3] == crew.Failed("the process ended with status 9")
    assert found[4] == crew.Failed("ValueError: four is wrong")
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.slow
def test_the_network_recipe_gives_rows_too(tmp_path, pack):
    pytest.importorskip("tensorflow")
    assert run(pack, tmp_path / "results.csv", "--limit", 1, recipe="faults-small") == 0
    (row,) = results.read(tmp_path / "results.csv")
    assert (row.head, row.note, row.window) == ("faults", "", 64)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "recipe", "expected"),
    [("batadal", "whitening", 0.923), ("cwru", "knn", 0.990), ("skab", "whitening", 0.873)],
)
def test_development_packs_come_out_as_they_did(tmp_path, packs, name, recipe, expected):
    assert run(Path(packs) / name, tmp_path / "results.csv", recipe=recipe) == 0
    mean = rows_of(tmp_path / "results.csv")[-1]
    assert float(mean["vus_pr"]) == pytest.approx(expected, abs=0.015)
