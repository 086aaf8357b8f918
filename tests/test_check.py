"""`anomalyd check`: what really runs, everything that is wrong at once, and what the broker says; never a hang."""

from __future__ import annotations

import json
import queue
import time
from pathlib import Path

import pytest

from daemon import check as check_module
from daemon import cli
from daemon.check import Report, check
from daemon.core.providers import gpu_there
from daemon.wire.inbox import Inbox
from daemon.wire.mqtt import Broker
from tests import models
from tests.brokers import DEADLINE_S, Mosquitto, Peer, ScriptedBroker, free_port

STREAM = '[[stream]]\nname = "s"\ntopics = ["p/+"]\nmodel = "one.onnx"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    models.mean_abs(tmp_path, window=16, name="one.onnx")
    models.mean_abs(tmp_path, window=4, channels=3, name="three.onnx")
    return tmp_path


def report(folder: Path, text: str = STREAM, *, connect: bool = False) -> Report:
    file = folder / "anomalyd.toml"
    file.write_text('inference = { gpu = "off" }\n' + text)
    return check(file, connect=connect)


def url(port: int, more: str = "") -> str:
    return f'[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n{more}\n{STREAM}'


@pytest.mark.parametrize("wish", ["tensorrt", "cuda_graphs"])
def test_it_says_why_what_is_wanted_of_a_gpu_does_not_run_and_require_is_a_problem(folder, wish):
    if gpu_there():
        pytest.skip("this machine has a GPU")
    file = folder / "anomalyd.toml"
    file.write_text(f'inference = {{ gpu = "prefer", {wish} = true }}\n' + STREAM)
    found = check(file)
    assert not found.problems
    assert any(f"gpu = 'prefer', {wish} = true, but" in line for line in found.warnings)
    file.write_text(f'inference = {{ gpu = "require", {wish} = true }}\n' + STREAM)
    (problem,) = check(file).problems
    assert problem.key == "inference.gpu"


def test_it_says_what_runs(folder):
    found = report(folder, STREAM + "hop = 2\ninterval_s = 10\n[stream.alarm]\nbudget_per_day = 1\n")
    text = found.as_text()
    assert found.problems == found.warnings == []
    assert "model tiny 1 (one.onnx)" in text
    assert "runs on CPUExecutionProvider" in text
    assert "window 16 x 1 channels, a score every 2 samples" in text
    assert "0.000115741 per point and sensor, 1 per day" in text
    assert "MiB for 10000" in text
    assert text.endswith("anomalyd.toml: fine")


@pytest.mark.parametrize(
    ("more", "warning"),
    [
        ("hop = 16", "hop 16 > window / 8"),
        ("alarm = { budget_per_point = 1e-6 }", "rarer than the evidence supports"),
        ("alarm = { budget_per_day = 1 }", "without interval_s"),
        ('topics = ["$share/g/p/+"]', "share by message"),
        ('topics = ["p/+", "p/x"]', "overlap"),
    ],
)
def test_what_is_allowed_and_seldom_meant_is_a_warning(folder, more, warning):
    base = STREAM.replace('topics = ["p/+"]\n', "") if "topics" in more else STREAM
    found = report(folder, base + more)
    assert found.problems == []
    assert [warning in text for text in found.warnings] == [True]


def test_overlapping_filters_of_timed_streams_are_fine(folder):
    timed = 'payload = { format = "json", value = "v", time = "t" }\n'
    found = report(folder, STREAM + timed + STREAM.replace('"s"', '"t"').replace("p/+", "p/#") + timed)
    assert (found.warnings, found.problems) == ([], [])


def test_problems_of_streams_models_and_payloads_come_together(folder):
    (folder / "broken.onnx").write_bytes(b"no model")
    found = report(
        folder,
        STREAM.replace('"s"', '"a"').replace("one.onnx", "broken.onnx")
        + STREAM.replace('"s"', '"b"').replace("one.onnx", "missing.onnx")
        + STREAM.replace('"s"', '"c"').replace("one.onnx", "three.onnx")
        + STREAM.replace('"s"', '"d"')
        + 'sensor = "{7}"',
    )
    assert {problem.key for problem in found.problems} == {
        "stream.a.model", "stream.b.model", "stream.c.payload.format", "stream.d.sensor"
    }  # fmt: skip
    assert {problem.file for problem in found.problems} == {str(folder / "anomalyd.toml")}
    assert "4 to mend" in found.as_text()


@pytest.mark.parametrize(
    ("payload", "key"),
    [
        ('{ format = "number" }', "payload.format"),
        ('{ format = "json", value = "v" }', "payload.value"),
        ('{ format = "json", channels = ["a", "b"] }', "payload.channels"),
    ],
)
def test_a_payload_that_can_never_fill_the_model_is_a_problem(folder, payload, key):
    found = report(folder, STREAM.replace("one.onnx", "three.onnx") + f"payload = {payload}")
    (problem,) = found.problems
    assert problem.key == f"stream.s.{key}"
    assert "3" in problem.expected


def test_the_command_prints_problems_as_json_and_an_empty_list_where_there_are_none(folder, capsys):
    file = folder / "anomalyd.toml"
    file.write_text(STREAM)
    assert cli.main(["check", "--config", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    file.write_text(STREAM + "hop = 0\ninterval = 1")
    assert cli.main(["check", "--config", str(file), "--json"]) == 2
    assert json.loads(capsys.readouterr().out) == [
        {"file": str(file), "key": "stream.s.hop", "got": "0", "expected": "greater than or equal to 1"},
        {"file": str(file), "key": "stream.s.interval", "got": "an unknown key", "expected": "'interval_s'?"},
    ]
    assert cli.main(["check", "--config", str(folder / "none.toml"), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)[0]["got"] == "nothing there"


def test_the_command_prints_the_schema_without_a_configuration(capsys):
    assert cli.main(["check", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["properties"].keys() >= {"mqtt", "stream"}


@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_connect_proves_the_subscription_and_leaves_nothing_behind(folder, version):
    with Mosquitto(folder) as broker, Peer(broker, "anomaly/#") as peer:
        found = report(folder, url(broker.port, f'version = "{version}"'), connect=True)
        assert found.problems == []
        assert "connected and subscribed as anomalyd-check" in found.as_text()
        said: queue.Queue[str] = queue.Queue()
        settings = broker.settings(client_id="anomalyd-check", version=version)
        returning = Broker(
            settings, [], Inbox(9, 9), status_topic="", max_payload_bytes=9, outbox_messages=9,
            on_change=lambda state, detail: said.put(detail),
        )  # fmt: skip
        returning.start()
        assert said.get(timeout=DEADLINE_S).endswith("new session")
        assert returning.stop(DEADLINE_S)
        peer.publish("anomaly/end", "last")
        assert peer.hear().topic == "anomaly/end"


def test_a_running_daemon_is_not_thrown_out(folder):
    with Mosquitto(folder) as broker, Peer(broker, "x", client_id="anomalyd") as running:
        assert report(folder, url(broker.port), connect=True).problems == []
        running.publish("x", "still here")
        assert running.hear().payload == b"still here"


def test_a_closed_port_is_a_clear_problem_at_once(folder):
    port, start = free_port(), time.monotonic()
    (problem,) = report(folder, url(port), connect=True).problems
    assert problem.key == "mqtt.url"
    assert f"cannot reach mqtt://127.0.0.1:{port}" in problem.got
    assert "refused" in problem.got
    assert time.monotonic() - start < 5


def test_a_host_that_does_not_exist_is_a_clear_problem(folder):
    text = f'[mqtt]\nurl = "mqtt://no-such-host.invalid"\n{STREAM}'
    (problem,) = report(folder, text, connect=True).problems
    assert "cannot reach mqtt://no-such-host.invalid" in problem.got


def test_a_wrong_password_is_a_clear_problem(folder):
    (folder / "password").write_text("wrong\n")
    with Mosquitto(folder, password=True) as broker:
        more = 'username = "line1"\npassword_file = "password"'
        (problem,) = report(folder, url(broker.port, more), connect=True).problems
        assert "refused us" in problem.got
        assert "mqtt.password_file" in problem.got
        (problem,) = report(folder, url(broker.port), connect=True).problems
        assert "without mqtt.username" in problem.got


def test_the_wait_for_a_broker_ends_in_time():
    assert check_module.CONNECT_S + 2 <= 15


def test_a_broker_that_never_answers_is_given_up_in_time(folder, monkeypatch):
    monkeypatch.setattr(check_module, "CONNECT_S", 0.5)
    with ScriptedBroker(lambda sock: sock.recv(1 << 16) and sock.recv(1)) as silent:
        start = time.monotonic()
        (problem,) = report(folder, url(silent.port), connect=True).problems
    assert "no answer within 0.5 s" in problem.got
    assert time.monotonic() - start < 5


def test_a_broker_that_accepts_and_leaves_the_subscription_unanswered_is_given_up_in_time(folder, monkeypatch):
    monkeypatch.setattr(check_module, "CONNECT_S", 0.5)

    def accept(sock):
        sock.recv(1 << 16)
        sock.sendall(b"\x20\x02\x00\x00")
        while sock.recv(1 << 16):
            pass

    with ScriptedBroker(accept) as half:
        start = time.monotonic()
        (problem,) = report(folder, url(half.port), connect=True).problems
    assert "no answer within" in problem.got
    assert time.monotonic() - start < 5


def test_a_refused_subscription_is_told_with_its_filter(folder):
    def refuse(sock):
        sock.recv(1 << 16)
        sock.sendall(b"\x20\x02\x00\x00")
        packet = sock.recv(1 << 16)
        sock.sendall(b"\x90\x03" + packet[2:4] + b"\x80")
        while sock.recv(1 << 16):
            pass

    with ScriptedBroker(refuse) as broker:
        (problem,) = report(folder, url(broker.port), connect=True).problems
    assert "refuses the subscription 'p/+'" in problem.got
