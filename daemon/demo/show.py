"""`anomalyd demo`: a broker, a simulated plant with faults, the real daemon on a shipped model, and what it sees."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from daemon import config, shipped
from daemon.core.model import card_of
from daemon.demo import broker, screen
from daemon.demo.facts import Facts
from daemon.demo.judge import Judge
from daemon.demo.source import BLOCK, RATE_HZ, Source
from daemon.errors import ConfigError
from daemon.wire.inbox import Inbox
from daemon.wire.mqtt import Broker

MODEL = "any-sensor-64"
HOP = 4
BUDGET_PER_POINT = 1e-5  # 20 sensors at 50 Hz: one false alarm in 100 s at the very most

#: Fewer caught than this share, or more false alarms than this, is a failed demo.
LEAST_CAUGHT, MOST_FALSE = 0.8, 2

#: How long the daemon may take until it is ready, in seconds.
READY_S = 30.0

CONFIG = """\
# Written by `anomalyd demo`; a real one looks just like it.
[mqtt]
url = "mqtt://127.0.0.1:{port}"
client_id = "anomalyd-demo"

[http]
listen = "127.0.0.1:{http}"

[[stream]]
name = "plant"
topics = ["plant/+/+"]
sensor = "{{2}}/{{3}}"
payload = {{ format = "json", values = "values", t0 = "t0", dt = "dt" }}
model = "{model}"
interval_s = {interval_s}
hop = {hop}

[stream.alarm]
budget_per_point = {budget}
"""


def show(*, seconds: float | None, seed: int | None, summary: Path | None) -> int:
    """Run the demo for `seconds`, or until interrupted; return 0, or 1 where the daemon did not do its job."""
    began = time.monotonic()
    logging.getLogger("daemon").setLevel(logging.WARNING)  # the table is the log
    seed = time.time_ns() % 1_000_000 if seed is None else seed
    with tempfile.TemporaryDirectory(prefix="anomalyd-demo-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        which, port = stack.enter_context(broker.broker(folder))
        http = _http_port()
        window = card_of(shipped.resolve(MODEL)).window
        file = folder / "anomalyd.toml"
        file.write_text(
            CONFIG.format(port=port, http=http, model=MODEL, interval_s=1 / RATE_HZ, hop=HOP, budget=BUDGET_PER_POINT)
        )
        daemon = stack.enter_context(_daemon(file, folder / "daemon.log"))
        _wait_until_ready(http, daemon, folder / "daemon.log")
        inbox = Inbox(100_000, 2**26)
        link = _link(port, inbox)
        stack.callback(link.stop, 5.0)
        source = Source(seed, None if seconds is None else seconds - (time.monotonic() - began))
        judge = Judge(grace_s=(window + BLOCK) / RATE_HZ)
        view = screen.Screen(source.names, which, port, http, seed)
        facts = Facts()
        try:
            with view:
                _run(source, judge, link, inbox, view, facts, daemon, None if seconds is None else began + seconds)
        except KeyboardInterrupt:
            print("\ninterrupted", file=sys.stderr)
        result = facts.summary(judge, source, time.monotonic() - began)
    screen.tell(result, judge)
    if summary is not None:
        summary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    injected, caught = result["faults_injected"], result["faults_detected"]
    return 1 if caught < LEAST_CAUGHT * injected or result["false_alarms"] > MOST_FALSE else 0


def _run(
    source: Source, judge: Judge, link: Broker, inbox: Inbox, view: screen.Screen, facts: Facts,
    daemon: subprocess.Popen[bytes], end: float | None,
) -> None:  # fmt: skip
    """Publish what is due, read what the daemon says, show it, until `end` (monotonic)."""
    # The last samples go out early enough for their scores to come back before the end.
    stop_source = None if end is None else end - 0.5
    while end is None or time.monotonic() < end:
        if daemon.poll() is not None:
            raise ConfigError.one("demo", f"a daemon that ended with status {daemon.returncode}", "one that runs")
        if stop_source is None or time.monotonic() < stop_source:
            for topic, payload in source.due(time.time()):
                link.publish(topic, payload, qos=0)
            judge.add(source.announce())
        drain = inbox.drain(timeout_s=0.02)
        link.acknowledge(drain.acks)
        for topic, payload, wall in zip(drain.topics, drain.payloads, drain.wall, strict=True):
            if payload:
                _hear(topic.split("/")[1], json.loads(payload), wall, source, judge, view, facts)
        view.refresh(facts, judge, source)


def _hear(
    kind: str, said: dict[str, Any], wall: float, source: Source, judge: Judge, view: screen.Screen, facts: Facts
) -> None:
    """Take in one message of the daemon."""
    if kind == "score":
        facts.windows += 1
        facts.latency_s.append(wall - source.published(said["timestamp"]))
        if said["score"] is not None:
            facts.score[said["sensor"]] = said["score"]
    elif kind == "state":
        facts.state[said["sensor"]] = said["state"]
    elif kind == "alarm" and said["state"] == "raised" and said["reason"] == "score":
        verdict = judge.alarm(said["id"], said["sensor"], said["since"])
        if verdict != "known":
            view.alarm(said, verdict)


@contextlib.contextmanager
def _daemon(file: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `anomalyd run` while inside; it must end well."""
    with open(log, "wb") as out:
        process = subprocess.Popen([sys.executable, "-m", "daemon.cli", "run", "--config", str(file)], stderr=out)
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        process.kill()
        process.wait()


def _wait_until_ready(http: int, daemon: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end and daemon.poll() is None:
        with (
            contextlib.suppress(OSError),  # 503 until it is ready; nobody answers before
            urllib.request.urlopen(f"http://127.0.0.1:{http}/readyz", timeout=2),
        ):
            return
        time.sleep(0.05)
    said = log.read_text(errors="replace").strip()[-600:]
    raise ConfigError.one("demo", f"a daemon that is not ready: {said}", f"ready within {READY_S:g} s")


def _link(port: int, inbox: Inbox) -> Broker:
    """Return the demo's own connection: publishes as the sensors, listens to what the daemon says."""
    settings = config.Mqtt(
        url=f"mqtt://127.0.0.1:{port}", client_id="demo-plant", qos=1, coalesce_ms=0.0, session_expiry_s=0
    )
    link = Broker(
        settings,
        ["anomaly/+/plant/#"],
        inbox,
        status_topic="demo/status",
        max_payload_bytes=65536,
        outbox_messages=10_000,
        on_change=lambda state, detail: None,
    )
    link.start()
    end = time.monotonic() + 10
    while not link.connected and time.monotonic() < end:
        time.sleep(0.02)
    return link


def _http_port() -> int:
    """Return the usual port where it is free, so that the page is where the README says."""
    usual = config.Http().address[1]
    with contextlib.suppress(OSError), socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", usual))
        return usual
    return broker.free_port()
