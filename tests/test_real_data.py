"""Real recordings through a real broker at 2,000 rows/s: live scores are the replay's, none missing, none extra."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import models
from tests.brokers import Mosquitto, Peer, wait_until
from tests.daemons import Daemon, stream

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NAB = "nab/realKnownCause-machine_temperature_system_failure.csv"
SKAB = "skab/valve1-3.csv"
SKAB_CHANNELS = [
    "Accelerometer1RMS", "Accelerometer2RMS", "Current", "Pressure", "Temperature", "Thermocouple", "Voltage",
    "Volume_Flow_RateRMS",
]  # fmt: skip


def anomalyd(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "daemon.cli", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> None:
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said


def streams(tmp_path: Path) -> str:
    asset = models.mean_abs(tmp_path, window=32, channels=8, name="asset.onnx", hop=2)
    fields = json.dumps(SKAB_CHANNELS)
    return stream(
        "temperature", "any-sensor-64", "nab/+", '{ format = "json", value = "value", time = "timestamp" }',
        'sensor = "{2}"\ninterval_s = 300\nhop = 4\ngap = { fill = "hold", limit_s = 1800 }',
    ) + stream(
        "bed", asset, "skab/+", f'{{ format = "json", channels = {fields}, time = "timestamp" }}',
        'sensor = "{2}"\ninterval_s = 1\ngap = { fill = "linear", limit_s = 5 }',
    )  # fmt: skip


def replayed(daemon: Daemon, name: str, file: Path, sensor: str) -> dict[tuple[str, float], dict[str, str]]:
    out = daemon.folder / f"{name}.csv"
    finished(anomalyd("replay", "--config", daemon.file, "--stream", name, "--sensor", sensor, "--out", out, file))
    return {(row["sensor"], float(row["timestamp"])): row for row in csv.DictReader(out.read_text().splitlines())}


def test_live_equals_replay_on_recordings_at_2000_rows_a_second(tmp_path, packs):
    with (
        Mosquitto(tmp_path) as broker,
        Daemon(tmp_path, broker.port, streams(tmp_path)) as daemon,
        Peer(broker, "anomaly/score/#") as peer,
    ):
        daemon.ready()
        url = f"mqtt://127.0.0.1:{broker.port}"
        feeds = [
            anomalyd("replay", "--publish", url, "--topic", topic, "--rate", 2000, packs / file, *more)
            for topic, file, more in (("nab/oven", NAB, ["--columns", "value"]), ("skab/bed", SKAB, []))
        ]
        for one in feeds:
            finished(one)
        offline = replayed(daemon, "temperature", packs / NAB, "oven") | replayed(daemon, "bed", packs / SKAB, "bed")
        daemon.wait_metric("windows_scored_total", len(offline))
        wait_until(lambda: peer.heard.qsize() >= len(offline), "every score is heard")
        live = {}
        while not peer.heard.empty():
            said = json.loads(peer.hear().payload)
            key = said["sensor"], said["timestamp"]
            assert key not in live
            live[key] = said
        assert daemon.metric("outbox_dropped_total") == daemon.metric("inbox_dropped_total") == 0
    assert len(offline) > 5000
    assert live.keys() == offline.keys()
    for key, said in live.items():
        raw = float(offline[key]["raw"])
        assert abs(said["raw"] - raw) <= 1e-5 * max(1, abs(raw))
        if said["score"] is None:
            assert offline[key]["score"] == ""
        else:
            assert said["score"] == pytest.approx(float(offline[key]["score"]), rel=1e-4, abs=1e-6)


def test_a_killed_broker_in_mid_replay_is_reconnected_and_scoring_goes_on(tmp_path, packs):
    broker = Mosquitto(tmp_path).start()
    with Daemon(tmp_path, broker.port, streams(tmp_path)) as daemon:
        daemon.ready()
        url = f"mqtt://127.0.0.1:{broker.port}"
        one = anomalyd(
            "replay", "--publish", url, "--topic", "nab/oven", "--rate", 4000, "--columns", "value", packs / NAB
        )
        daemon.wait_metric("samples_total", 4000)
        broker.kill()
        wait_until(lambda: daemon.get("/readyz")[0] == 503, "not ready without a broker")
        before = daemon.metric("windows_scored_total")
        broker.start()
        daemon.ready()
        finished(one)
        last = (packs / NAB).read_text().splitlines()[-1].split(",")[0]
        wait_until(
            lambda: any(s["timestamp"] == float(last) for s in daemon.json("/api/sensors")["sensors"]),
            "the last row of the file arrives",
        )
        assert daemon.metric("windows_scored_total") > before
        assert daemon.metric("mqtt_connects_total") == 2
        assert daemon.stop() == 0
    broker.stop()
