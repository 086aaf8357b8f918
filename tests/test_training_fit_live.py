"""Every head, fitted by one command on real recordings, runs in the daemon behind a real broker as in a replay."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

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

HEADS = ("fused", "faults", "forecast", "reconstruct", "classify")
#: pack -> (the file that is published, its interval, the payload without its channels)
PACKS = {
    "skab": ("valve1-3.csv", 1, "channels"),
    "nab": ("realKnownCause-machine_temperature_system_failure.csv", 300, "value"),
}
SMALL = ["--epochs", "2", "--preset", "lean-64"]


def fitted(packs: Path, pack: str, head: str, file: Path) -> Model:
    """Fit as a user would, in one command."""
    drawn = {"fused": [], "classify": [*SMALL, "--label", "anomaly", "--per-class", "400"]}
    more = drawn.get(head, [*SMALL, "--windows", "4000"])
    assert cli.main(["fit", str(packs / pack), "--head", head, "--hop", "4", "--out", str(file), *more]) == 0
    return Model(file)


def anomalyd(*words: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "daemon.cli", *map(str, words)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("head", HEADS)
def test_a_fitted_model_scores_live_what_a_replay_scores(packs, tmp_path, head, pack):
    name, interval_s, key = PACKS[pack]
    model = fitted(packs, pack, head, tmp_path / "line.onnx")
    assert (model.card.head, model.card.hop) == (head, 4)
    fields = json.dumps(list(model.card.channels)) if key == "channels" else '"value"'
    payload = f'{{ format = "json", {key} = {fields}, time = "timestamp" }}'
    more = f'sensor = "{{2}}"\ninterval_s = {interval_s}'
    with (
        Mosquitto(tmp_path) as broker,
        Daemon(tmp_path, broker.port, stream("line", tmp_path / "line.onnx", "line/+", payload, more)) as daemon,
        Peer(broker, "anomaly/score/#") as peer,
    ):
        daemon.ready()
        file, out = packs / pack / name, tmp_path / "offline.csv"
        columns = ["--columns", "value"] if pack == "nab" else []
        url = f"mqtt://127.0.0.1:{broker.port}"
        anomalyd("replay", "--publish", url, "--topic", "line/bed", "--rate", 4000, *columns, file)
        anomalyd("replay", "--config", daemon.file, "--stream", "line", "--sensor", "bed", "--out", out, file)
        offline = {float(row["timestamp"]): row for row in csv.DictReader(out.read_text().splitlines())}
        daemon.wait_metric("windows_scored_total", len(offline))
        wait_until(lambda: peer.heard.qsize() >= len(offline), "every score is heard")
        said = [json.loads(peer.hear().payload) for _ in range(peer.heard.qsize())]
    live = {one["timestamp"]: one for one in said}
    assert len(said) == len(live) > 200
    assert live.keys() == offline.keys()
    for t, one in live.items():
        raw = float(offline[t]["raw"])
        assert abs(one["raw"] - raw) <= 1e-5 * max(1, abs(raw))
        assert (one["score"] is None) == (offline[t]["score"] == "")
        if one["score"] is not None:
            assert one["score"] == pytest.approx(float(offline[t]["score"]), rel=1e-4, abs=1e-6)
