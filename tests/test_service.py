"""The whole daemon against a real broker: what a plant would see on its topics, pages and exit status."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests import models
from tests.brokers import Mosquitto, Peer, wait_until
from tests.daemons import Daemon, stream

JSON = '{ format = "json", value = "v", time = "ts" }'


@pytest.fixture
def mosquitto(tmp_path):
    with Mosquitto(tmp_path) as broker:
        yield broker


def scores(peer: Peer, n: int) -> list[dict]:
    """Return the next n score messages."""
    found = []
    while len(found) < n:
        message = peer.hear()
        if message.topic.startswith("anomaly/score/"):
            found.append(json.loads(message.payload))
    return found


def test_live_scores_are_what_replay_says_window_for_window(tmp_path, mosquitto):
    """Two streams with different models at once: one sensor a file with gaps and lates, one of three channels."""
    one = models.mean_abs(tmp_path, window=8, name="one.onnx")
    three = models.mean_abs(tmp_path, window=16, channels=3, name="three.onnx", hop=2)
    streams = stream("one", one, "one/+", JSON, 'sensor = "{2}"\ninterval_s = 1') + stream(
        "three", three, "three/+", '{ format = "json", channels = ["c0", "c1", "c2"], time = "t" }', 'sensor = "{2}"'
    )
    rng = np.random.default_rng(3)
    t = 1e9 + np.cumsum(rng.choice([1, 1, 1, 1, 1, 1, 2, 3, 0, -1, 20], 400))
    values = np.exp(rng.normal(size=400)).astype(np.float32)
    rows = np.exp(rng.normal(size=(300, 3))).astype(np.float32)
    with Daemon(tmp_path, mosquitto.port, streams) as daemon, Peer(mosquitto, "anomaly/score/#") as peer:
        daemon.ready()
        for stamp, value in zip(t.tolist(), values.tolist(), strict=True):
            peer.client.publish("one/a", json.dumps({"v": value, "ts": stamp}), 1)
        for number, row in enumerate(rows.tolist()):
            peer.publish("three/b", json.dumps({"t": 2e9 / 2 + number, "c0": row[0], "c1": row[1], "c2": row[2]}), 0)
        (tmp_path / "a.csv").write_text(
            "timestamp,v\n" + "\n".join(f"{a!r},{b!r}" for a, b in zip(t.tolist(), values.tolist(), strict=True))
        )
        (tmp_path / "b.csv").write_text(
            "t,c0,c1,c2\n" + "\n".join(f"{10**9 + i},{a!r},{b!r},{c!r}" for i, (a, b, c) in enumerate(rows.tolist()))
        )
        offline = {}
        for name, file, columns in (("one", "a", None), ("three", "b", "t")):
            out = tmp_path / f"{name}.csv"
            command = [sys.executable, "-m", "daemon.cli", "replay", "--config", daemon.file, "--stream", name]
            command += ["--out", out, tmp_path / f"{file}.csv"] + (["--time", columns] if columns else [])
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            for row in csv.DictReader(out.read_text().splitlines()):
                offline[row["sensor"], float(row["timestamp"])] = row
        live = {(said["sensor"], said["timestamp"]): said for said in scores(peer, len(offline))}
        daemon.wait_metric("windows_scored_total", len(offline))
        assert peer.heard.empty()
    assert live.keys() == offline.keys()
    for key, said in live.items():
        assert abs(said["raw"] - float(offline[key]["raw"])) <= 1e-5 * max(1, said["raw"])
        if said["score"] is None:
            assert offline[key]["score"] == ""
        else:
            assert said["score"] == pytest.approx(float(offline[key]["score"]), rel=1e-4)
    assert sum(said["score"] is not None for said in live.values()) > 100


def test_bad_messages_are_refused_with_a_reason_and_scoring_goes_on(tmp_path, mosquitto):
    model = models.mean_abs(tmp_path, window=4)
    bad = {
        b"": "empty", b"{": "not-json", b'{"v": true, "ts": 1}': "wrong-type", b'{"ts": 1}': "missing-field",
        b'{"v": 1e300, "ts": 1}': "not-finite", b'{"v": 1, "ts": "yesterday"}': "bad-time", b"x" * 300_000: "too-large",
    }  # fmt: skip
    with (
        Daemon(tmp_path, mosquitto.port, stream("s", model, "s/+", JSON, 'sensor = "{2}"')) as daemon,
        Peer(mosquitto, "anomaly/#") as peer,
    ):
        daemon.ready()
        for payload in bad:
            peer.publish("s/bad", payload)
        for i in range(4):
            peer.publish("s/good", json.dumps({"v": 1, "ts": i + 1}))
        assert json.loads(peer.hear_on("anomaly/score/s/good").payload)["raw"] == 1.0
        for reason in bad.values():
            assert daemon.metric("rejected_total", stream="s", reason=reason) == 1
        state = json.loads(Peer(mosquitto, "anomaly/state/s/bad").hear().payload)
        assert (state["state"], daemon.metric("sensors", state="live") + daemon.metric("sensors", state="warming")) == (
            "refused",
            1,
        )
        assert daemon.get("/healthz")[0] == 200


def test_our_own_output_and_retained_values_are_no_samples(tmp_path, mosquitto):
    model = models.mean_abs(tmp_path, window=2)
    with Peer(mosquitto) as peer:
        peer.publish("s/old", "1.5", retain=True)
    streams = stream("s", model, "s/#", '{ format = "number" }', 'sensor = "{topic}"')
    with Daemon(tmp_path, mosquitto.port, streams) as daemon, Peer(mosquitto) as peer:
        daemon.ready()
        daemon.wait_metric("rejected_total", 1, reason="retained")
        assert daemon.metric("samples_total") == 0


def test_an_alarm_is_raised_cleared_and_its_states_are_retained(tmp_path, mosquitto):
    segments = np.exp(0.1 * np.random.default_rng(0).normal(size=2000)).tolist()
    model = models.mean_abs(
        tmp_path, window=4, classes=True, calibration={"hop": 1, "segments": [segments], "noise_floor": 0.01}
    )
    with Daemon(tmp_path, mosquitto.port, stream("s", model, "s/+", JSON, 'sensor = "{2}"')) as daemon:
        with Peer(mosquitto, "anomaly/alarm/#") as peer:
            daemon.ready()
            for i, v in enumerate([1] * 40 + [500] * 3 + [1] * 40):
                peer.publish("s/a", json.dumps({"v": v, "ts": 1000 + i}))
            raised, cleared = (json.loads(peer.hear().payload) for _ in range(2))
            while cleared["state"] == "updated":
                cleared = json.loads(peer.hear().payload)
        assert (raised["state"], raised["reason"], raised["sensor"], raised["since"]) == ("raised", "score", "a", 1040)
        assert raised["score"] > 1
        assert (raised["class"], raised["class_confidence"], raised["channel"]) == ("loud", 1.0, "c0")
        assert (cleared["state"], cleared["id"]) == ("cleared", raised["id"])
        assert 1043 <= cleared["until"] <= 1047
        with Peer(mosquitto, "anomaly/state/#", "anomaly/alarm/#", "anomaly/status/#") as late:
            kept = {m.topic: json.loads(m.payload) for m in (late.hear() for _ in range(3))}
        assert kept["anomaly/state/s/a"]["state"] == "live"
        assert kept["anomaly/alarm/s/a"]["state"] == "cleared"
        assert kept["anomaly/status/anomalyd"]["status"] == "online"
        assert daemon.metric("alarms_total", stream="s", reason="score") == 1


def test_it_starts_without_a_broker_survives_its_death_and_loses_nothing_acknowledged(tmp_path):
    broker = Mosquitto(tmp_path)
    model = models.mean_abs(tmp_path, window=1)
    with Daemon(tmp_path, broker.port, stream("s", model, "s/+", JSON, 'sensor = "{2}"')) as daemon:
        status, body = daemon.get("/readyz")
        assert status == 503
        assert "broker" in body
        assert daemon.get("/healthz")[0] == 200
        with broker:
            daemon.ready()
            with Peer(broker) as peer:
                for i in range(50):
                    peer.publish("s/a", json.dumps({"v": 1, "ts": i + 1}))
            daemon.wait_metric("windows_scored_total", 50)
            broker.kill()
            wait_until(lambda: daemon.get("/readyz")[0] == 503, "not ready without a broker")
            broker.start()
            daemon.ready()
            with Peer(broker) as peer:
                for i in range(50, 100):
                    peer.publish("s/a", json.dumps({"v": 1, "ts": i + 1}))
            daemon.wait_metric("windows_scored_total", 100)
            assert daemon.metric("mqtt_connects_total") == 2


def test_sigterm_scores_what_was_accepted_says_offline_and_ends_with_0(tmp_path, mosquitto):
    model = models.mean_abs(tmp_path, window=1)
    with (
        Daemon(tmp_path, mosquitto.port, stream("s", model, "s/+", JSON, 'sensor = "{2}"')) as daemon,
        Peer(mosquitto, "anomaly/score/#", "anomaly/status/#") as peer,
    ):
        daemon.ready()
        for i in range(2000):
            peer.client.publish("s/a", json.dumps({"v": 1, "ts": i + 1}), 1)
        first = peer.hear_on("anomaly/score/s/a")
        assert daemon.stop() == 0
        heard, status = [json.loads(first.payload)["timestamp"]], ""
        while status != "offline":
            message = peer.hear()
            said = json.loads(message.payload)
            if message.topic.startswith("anomaly/score"):
                heard.append(said["timestamp"])
            else:
                status = said["status"]
        # every window up to the last one scored, in order, none lost; the rest was never acknowledged
        assert heard == [float(i + 1) for i in range(len(heard))]
        accepted = len(heard)
    with Daemon(tmp_path, mosquitto.port, stream("s", model, "s/+", JSON, 'sensor = "{2}"')) as daemon:
        daemon.ready()
        daemon.wait_metric("samples_total", 2000 - accepted)
        assert daemon.metric("samples_total") == 2000 - accepted


def test_a_silent_sensor_becomes_stale_and_comes_back(tmp_path, mosquitto):
    model = models.mean_abs(
        tmp_path, window=1, calibration={"hop": 1, "segments": [[1.0, 1.1] * 50], "noise_floor": 0.01}
    )
    streams = stream("s", model, "s/+", JSON, 'sensor = "{2}"\nstale_after_s = 0.5')
    with Daemon(tmp_path, mosquitto.port, streams) as daemon, Peer(mosquitto, "anomaly/alarm/#") as peer:
        daemon.ready()
        peer.publish("s/a", json.dumps({"v": 1, "ts": 1}))
        raised = json.loads(peer.hear().payload)
        assert (raised["state"], raised["reason"]) == ("raised", "stale")
        assert daemon.json("/api/sensors")["sensors"][0]["state"] == "stale"
        peer.publish("s/a", json.dumps({"v": 1, "ts": 2}))
        cleared = json.loads(peer.hear().payload)
        assert (cleared["state"], cleared["id"], cleared["reason"]) == ("cleared", raised["id"], "data is back")


def test_beyond_max_sensors_a_newcomer_is_refused_and_nobody_evicted(tmp_path, mosquitto):
    model = models.mean_abs(tmp_path, window=1)
    streams = stream("s", model, "s/+", '{ format = "number" }', 'sensor = "{2}"')
    with (
        Daemon(tmp_path, mosquitto.port, streams, more="[limits]\nmax_sensors = 2") as daemon,
        Peer(mosquitto, "anomaly/state/s/c") as peer,
    ):
        daemon.ready()
        for sensor in "abcab":
            peer.publish(f"s/{sensor}", "1")
        said = json.loads(peer.hear().payload)
        assert said["state"] == "refused"
        assert "sensor-limit" in said["reason"]
        daemon.wait_metric("samples_total", 4)
        assert daemon.metric("rejected_total", reason="sensor-limit") == 1


def test_a_forgotten_sensors_retained_topics_are_deleted(tmp_path, mosquitto):
    model = models.mean_abs(tmp_path, window=1)
    streams = stream("s", model, "s/+", '{ format = "number" }', 'sensor = "{2}"')
    with (
        Daemon(tmp_path, mosquitto.port, streams, more="[limits]\nforget_after_s = 0.5") as daemon,
        Peer(mosquitto, "anomaly/state/#") as peer,
    ):
        daemon.ready()
        peer.publish("s/a", "1")
        states = []
        while not states or states[-1]:
            states.append(peer.hear().payload)
        assert json.loads(states[0])["state"] == "warming"
        assert daemon.metric("sensors_forgotten_total") == 1
        assert daemon.json("/api/sensors")["sensors"] == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[stream]]\nname = 'a'\ntopics = ['a']\nmodel = 'nope.onnx'\nhop = 0", ["stream.a.hop", "got 0"]),
        ("[[stream]]\nname = 'a'\ntopics = ['a']\nmodel = 'nope'", ["stream.a.model", "any-sensor-64"]),
        ("[mqtt]\nurl = 'http://x'", ["mqtt.url", "stream"]),
    ],
)
def test_a_wrong_configuration_ends_run_and_check_with_2_and_says_all_of_it(tmp_path, text, says):
    file = tmp_path / "anomalyd.toml"
    file.write_text(text)
    for command in ("run", "check"):
        done = subprocess.run(
            [sys.executable, "-m", "daemon.cli", command, "--config", file], capture_output=True, text=True
        )
        assert done.returncode == 2
        for part in says:
            assert part in done.stderr + done.stdout
        assert "Traceback" not in done.stderr


def test_two_signals_end_it_at_once(tmp_path, mosquitto):
    model = models.mean_abs(tmp_path, window=1)
    with Daemon(tmp_path, mosquitto.port, stream("s", model, "s/+", JSON)) as daemon:
        daemon.ready()
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.stop(signal.SIGTERM) in (0, -signal.SIGTERM)
