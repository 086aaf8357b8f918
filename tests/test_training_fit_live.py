"""Every head, fitted by one command on real recordings, runs in the daemon behind a real broker as in a replay."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from daemon.core.model import Model
from tests.brokers import Mosquitto, Peer, wait_until
from tests.daemons import Daemon, stream
from training import cli

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
TENSORFLOW = importlib.util.find_spec("tensorflow") is not None or "ANOMALYD_CI" in os.environ
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("default"),  # TensorFlow and tf2onnx warn of themselves
    pytest.mark.skipif(not TENSORFLOW, reason="tensorflow is not installed: pip install anomalyd[training]"),
]

HEADS = ("faults", "forecast", "reconstruct", "classify")
#: pack -> (the file that is published, which of its rows, its interval, the payload without its channels)
PACKS = {
    "skab": ("valve1-3.csv", slice(None), 1, "channels"),
    "nab": ("realKnownCause-machine_temperature_system_failure.csv", slice(None), 300, "value"),
    "batadal": ("attacks-2016.csv", slice(None), 3600, "channels"),
    "cwru": ("fault-IR-7mil.csv.gz", slice(28_000, 36_000), 2.083e-5, "channels"),
}
SMALL = ["--epochs", "2", "--preset", "lean-64"]


def fitted(packs: Path, pack: str, head: str, file: Path) -> Model:
    """Fit as a user would, in one command."""
    more = {"classify": ["--label", "anomaly", "--per-class", "400"]}.get(head, ["--windows", "4000"])
    words = ["fit", str(packs / pack), "--head", head, "--hop", "4", "--out", str(file), *SMALL, *more]
    assert cli.main(words) == 0
    return Model(file)


def published(packs: Path, pack: str, folder: Path) -> Path:
    """Return the pack's file, or what is published of it as a file of its own."""
    name, rows, _, _ = PACKS[pack]
    if rows == slice(None):
        return packs / pack / name
    with gzip.open(packs / pack / name, "rt") as file:
        head, *lines = file.read().splitlines()
    cut = folder / name.removesuffix(".gz")
    cut.write_text("\n".join([head, *lines[rows]]) + "\n")
    return cut


def anomalyd(*words: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "daemon.cli", *map(str, words)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("pack", ["skab", "nab"])
@pytest.mark.parametrize("head", HEADS)
def test_a_fitted_model_scores_live_what_a_replay_scores(packs, tmp_path, head, pack):
    model = fitted(packs, pack, head, tmp_path / "line.onnx")
    assert (model.card.head, model.card.hop) == (head, 4)
    live_as_offline(packs, pack, model, tmp_path)


@pytest.mark.parametrize("pack", PACKS)
def test_the_default_model_scores_live_what_a_replay_scores_and_its_alarms_say_what_is_wrong(packs, tmp_path, pack):
    history = {"skab": PACKS["skab"][0], "nab": PACKS["nab"][0]}.get(
        pack, ""
    )  # each series is a plant of its own there
    assert cli.main(["fit", str(packs / pack / history), "--out", str(tmp_path / "line.onnx")]) == 0
    model = Model(tmp_path / "line.onnx")
    assert model.card.head == "fused"
    events = live_as_offline(packs, pack, model, tmp_path)
    raised = [event for event in events if event["state"] == "raised"]
    assert raised
    for event in raised:
        assert event["channel"] in model.card.channels
        assert event["class"] in set(model.card.classes) - {model.card.normal_class}
        assert 0 < event["class_confidence"] <= 1
        first, last = event["part"]
        assert 0 <= first <= last < model.card.window


def live_as_offline(packs: Path, pack: str, model: Model, folder: Path) -> list[dict[str, Any]]:
    """Publish the pack's file to a daemon, hold its scores against a replay's, and return the alarm events heard."""
    _, _, interval_s, key = PACKS[pack]
    fields = json.dumps(list(model.card.channels)) if key == "channels" else '"value"'
    payload = f'{{ format = "json", {key} = {fields}, time = "timestamp" }}'
    more = f'sensor = "{{2}}"\ninterval_s = {interval_s}'
    with (
        Mosquitto(folder) as broker,
        Daemon(folder, broker.port, stream("line", folder / "line.onnx", "line/+", payload, more)) as daemon,
        Peer(broker, "anomaly/score/#") as peer,
        Peer(broker, "anomaly/alarm/#") as operator,
    ):
        daemon.ready()
        file, out = published(packs, pack, folder), folder / "offline.csv"
        columns = ["--columns", "value"] if pack == "nab" else []
        url = f"mqtt://127.0.0.1:{broker.port}"
        anomalyd("replay", "--publish", url, "--topic", "line/bed", "--rate", 4000, *columns, file)
        anomalyd("replay", "--config", daemon.file, "--stream", "line", "--sensor", "bed", "--out", out, file)
        offline = {float(row["timestamp"]): row for row in csv.DictReader(out.read_text().splitlines())}
        daemon.wait_metric("windows_scored_total", len(offline))
        wait_until(lambda: peer.heard.qsize() >= len(offline), "every score is heard")
        wait_until(lambda: operator.heard.qsize() >= daemon.metric("alarms_total"), "every alarm is heard")
        said = [json.loads(peer.hear().payload) for _ in range(peer.heard.qsize())]
        events = [json.loads(operator.hear().payload) for _ in range(operator.heard.qsize())]
    live = {one["timestamp"]: one for one in said}
    assert len(said) == len(live) > 200
    assert live.keys() == offline.keys()
    for t, one in live.items():
        raw = float(offline[t]["raw"])
        assert abs(one["raw"] - raw) <= 1e-5 * max(1, abs(raw))
        assert (one["score"] is None) == (offline[t]["score"] == "")
        if one["score"] is not None:
            assert one["score"] == pytest.approx(float(offline[t]["score"]), rel=1e-4, abs=1e-6)
    return events
