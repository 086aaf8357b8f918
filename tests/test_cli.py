"""The command line as an operator meets it: exit statuses, clear errors, no traceback."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from daemon import cli, shipped
from tests import models

CONFIG = """
[[stream]]
name = "one"
topics = ["a/+"]
model = "one.onnx"
payload = { format = "json", value = "v", time = "ts" }
[[stream]]
name = "two"
topics = ["b/+"]
model = "two.onnx"
payload = { format = "json", channels = ["c0", "c1"], time = "ts" }
interval_s = 1
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with two models, a configuration and histories."""
    monkeypatch.chdir(tmp_path)
    models.mean_abs(tmp_path, window=4, name="one.onnx")
    models.mean_abs(tmp_path, window=4, channels=2, name="two.onnx")
    Path("anomalyd.toml").write_text(CONFIG)
    Path("one.csv").write_text("timestamp,v\n" + "".join(f"{1000 + i},{i % 7}\n" for i in range(40)))
    Path("two.csv").write_text("timestamp,other,c1,c0\n" + "".join(f"{1000 + i},99,{10 + i},{i}\n" for i in range(40)))
    return tmp_path


def anomalyd(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "daemon.cli", *words], capture_output=True, text=True, timeout=60)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "COMMAND"),
        (["fly"], "fly"),
        (["run"], "--config"),
        (["run", "--config", "no.toml"], "no.toml: file: got nothing there"),
        (["check"], "--config"),
        (["check", "--config", "one.csv"], "TOML"),
        (["replay"], "FILE"),
        (["replay", "one.csv"], "either --config FILE or --model MODEL"),
        (["replay", "one.csv", "--model", "one.onnx", "--config", "anomalyd.toml"], "either --config FILE or"),
        (["replay", "one.csv", "--model", "nope"], "any-sensor-64"),
        (["replay", "one.csv", "--model", "./nope.onnx"], "./nope.onnx"),
        (["replay", "one.csv", "--model", "./one.csv"], "one.csv"),
        (["replay", "no.csv", "--model", "./one.onnx"], "no.csv"),
        (["replay", "one.onnx", "--model", "./one.onnx"], "one.onnx"),
        (["replay", "one.csv", "--model", "./one.onnx", "--hop", "0"], "--hop: got 0, expected a whole number >= 1"),
        (["replay", "one.csv", "--model", "./one.onnx", "--hop", "1.5"], "--hop: got 1.5"),
        (["replay", "one.csv", "--model", "./one.onnx", "--interval-s", "inf"], "--interval-s: got inf"),
        (["replay", "one.csv", "--model", "./one.onnx", "--interval-s", "x"], "--interval-s: got x"),
        (["replay", "one.csv", "--model", "./one.onnx", "--stream", "one"], "--stream"),
        (["replay", "one.csv", "--model", "./one.onnx", "--topic", "t"], "--publish URL"),
        (["replay", "one.csv", "--model", "./one.onnx", "--columns", "v,w"], "one named w"),
        (["replay", "one.csv", "--model", "./one.onnx", "--time", "when"], "a time column named when"),
        (["replay", "one.csv", "--model", "./two.onnx"], "the model's 2 channels: c0, c1"),
        (["replay", "one.csv", "--model", "./one.onnx", "--out", "no/such/folder"], "--out"),
        (["replay", "one.csv", "--model", "./one.onnx", "--out", "/dev/full"], "--out"),
        (["replay", "one.csv", "--model", "./one.onnx", "--json", "."], "--json"),
        (["replay", "one.csv", "--config", "anomalyd.toml"], "one of one, two"),
        (["replay", "one.csv", "--config", "anomalyd.toml", "--stream", "three"], "one of one, two"),
        (["replay", "one.csv", "--config", "anomalyd.toml", "--stream", "one", "--hop", "2"], "only with --model"),
        (["replay", "one.csv", "--publish", "mqtt://x"], "--topic"),
        (["replay", "one.csv", "--publish", "mqtt://x", "--topic", "a/#"], "--topic"),
        (["replay", "one.csv", "--publish", "http://x", "--topic", "a"], "mqtts://host:port"),
        (["replay", "one.csv", "two.csv", "--publish", "mqtt://x", "--topic", "a"], "the history of one sensor"),
        (["replay", "one.csv", "--publish", "mqtt://x", "--topic", "a", "--out", "x"], "only without --publish"),
        (["replay", "one.csv", "--publish", "mqtt://x", "--topic", "a", "--rate", "-1"], "--rate: got -1"),
        (["replay", "one.csv", "--publish", "mqtt://x", "--topic", "a", "--speed", "nan"], "--speed: got nan"),
        (["replay", "one.csv", "--publish", "mqtt://x", "--topic", "a", "--speed", "1", "--rate", "1"], "one of them"),
        (["replay", "one.csv", "--publish", "mqtt://x", "--topic", "a", "--stream", "one"], "only with --config"),
        (["models", "nope"], "any-sensor-64"),
        (["models", "./one.csv"], "one.csv"),
        (["demo", "--seconds", "0"], "--seconds: got 0"),
    ],
)
def test_what_cannot_work_ends_with_2_and_says_why(folder, capsys, words, says):
    folder.joinpath("one.csv").chmod(0o644)
    try:
        status = cli.main(words)
    except SystemExit as error:  # argparse's own
        status = error.code
    out, err = capsys.readouterr()
    assert status == 2, (out, err)
    assert says in out + err
    assert "Traceback" not in err


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["replay", "--help"], ["check", "--help"]])
def test_help_and_version_end_with_0(capsys, words):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 0
    assert "anomalyd" in capsys.readouterr().out


def test_replay_scores_a_file_with_a_model_and_its_defaults(folder, capsys):
    assert cli.main(["replay", "one.csv", "--model", "./one.onnx"]) == 0
    out, err = capsys.readouterr()
    found = rows(out)
    assert list(found[0]) == ["timestamp", "sensor", "score", "raw", "alarm"]
    assert [float(row["timestamp"]) for row in found] == [1003.0 + i for i in range(37)]
    assert [float(row["raw"]) for row in found[:3]] == [1.5, 2.5, 3.5]
    assert {row["sensor"] for row in found} == {"one"}
    assert "37 windows scored" in err


def test_replay_takes_hop_interval_and_the_sensors_name(folder, capsys):
    Path("gap.csv").write_text("timestamp,v\n" + "".join(f"{1000 + i},1\n" for i in (0, 1, 2, 3, 4, 5, 100, 101, 102)))
    words = ["replay", "gap.csv", "--model", "./one.onnx", "--hop", "2", "--interval-s", "1", "--sensor", "pump/7"]
    assert cli.main(words) == 0
    found = rows(capsys.readouterr().out)
    assert [(row["sensor"], float(row["timestamp"])) for row in found] == [("pump/7", 1003.0), ("pump/7", 1005.0)]


def test_a_model_of_one_channel_takes_each_column_as_a_sensor(folder, capsys):
    assert cli.main(["replay", "two.csv", "--model", "./one.onnx", "--columns", "c0,c1"]) == 0
    found = rows(capsys.readouterr().out)
    assert {row["sensor"] for row in found} == {"two/c0", "two/c1"}
    assert next(float(row["raw"]) for row in found if row["sensor"] == "two/c0") == 1.5
    assert next(float(row["raw"]) for row in found if row["sensor"] == "two/c1") == 11.5


def test_a_model_of_many_channels_takes_the_columns_of_their_names(folder, capsys):
    words = [
        "replay",
        "two.csv",
        "--config",
        "anomalyd.toml",
        "--stream",
        "two",
        "--out",
        "out.csv",
        "--json",
        "s.json",
    ]
    assert cli.main(words) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "40 rows" in err
    found = rows(Path("out.csv").read_text())
    assert float(found[0]["raw"]) == 6.5  # the mean of 0 1 2 3 and 10 11 12 13: not of the column named other
    summary = json.loads(Path("s.json").read_text())
    assert (summary["files"], summary["sensors"], summary["samples"]) == (["two.csv"], 1, 40)
    assert (summary["windows_scored"], summary["skipped"], summary["dropped"]) == (37, 0, {})
    assert (summary["model"], summary["provider"]) == ("tiny", "CPUExecutionProvider")


def test_several_files_are_one_replay(folder, capsys):
    Path("other.csv").write_text(Path("one.csv").read_text())
    assert cli.main(["replay", "one.csv", "other.csv", "--model", "./one.onnx"]) == 0
    assert {row["sensor"] for row in rows(capsys.readouterr().out)} == {"one", "other"}


def test_a_reader_that_goes_away_ends_it_without_a_traceback(folder):
    Path("long.csv").write_text("timestamp,v\n" + "".join(f"{1000 + i},{i % 7}\n" for i in range(30000)))
    words = [sys.executable, "-m", "daemon.cli", "replay", "long.csv", "--model", "./one.onnx"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"timestamp,sensor,score,raw,alarm\n"
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(30) == 1
    assert b"Traceback" not in err
    assert b"Broken" not in err


def test_an_interrupted_replay_keeps_what_was_scored_and_ends_with_130(folder):
    Path("long.csv").write_text("timestamp,v\n" + "".join(f"{1000 + i},{i % 7}\n" for i in range(200000)))
    words = [sys.executable, "-m", "daemon.cli", "replay", "long.csv", "--model", "./one.onnx", "--json", "s.json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.readline()  # of the first batch
        process.send_signal(signal.SIGINT)
        found, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert b"interrupted" in err
    assert b"Traceback" not in err
    scored = json.loads(Path("s.json").read_text())["windows_scored"]
    assert 0 < scored < 199997
    assert abs(found.count(b"\n") - scored) <= 8192


def test_models_prints_the_cards_of_the_shipped_models_and_of_files(folder, capsys):
    assert cli.main(["models"]) == 0
    text = capsys.readouterr().out
    for name in shipped.names():
        assert name in text
    assert cli.main(["models", "--json", "./one.onnx", *shipped.names()]) == 0
    cards = json.loads(capsys.readouterr().out)
    assert [card["name"] for card in cards] == ["tiny", *shipped.names()]
    assert cards[0]["window"] == 4
    assert Path(cards[0]["file"]) == Path("one.onnx")


def test_run_without_a_readable_configuration_ends_with_2_as_a_process(folder):
    done = anomalyd("run", "--config", "no.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "anomalyd: 1 to mend",
        "  no.toml: file: got nothing there, expected a readable anomalyd.toml",
    ]


@pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
def test_a_file_without_the_right_to_read_it_is_a_clear_error(folder, capsys):
    folder.joinpath("one.csv").chmod(0)
    assert cli.main(["replay", "one.csv", "--model", "./one.onnx"]) == 2
    assert "Permission denied" in capsys.readouterr().err
