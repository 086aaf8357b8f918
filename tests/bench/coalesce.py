"""What mqtt.coalesce_ms costs in latency and saves in CPU: 0, 2 and 5 (the default) ms, publish to score.

A fresh daemon and a fresh mosquitto for each, in turn, round by round; plant.c is plant and control room, 20,000
one-sample messages a second over 1,000 sensors. The model is a mean of absolute values, so what it costs hides nothing.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests import models
from tests.bench.facts import Fact, absent
from tests.bench.ingest import compile_, process_cpu_s
from tests.brokers import Mosquitto
from tests.daemons import Daemon, stream

RESTS_MS, ROUNDS = (0, 2, 5), 3
SENSORS, RATE, SECONDS, WINDOW, HOP = 1_000, 20_000, 4, 16, 16
#: As in latency.py: mosquitto otherwise holds small packets back, and drops what a client does not take at once.
BROKER = "set_tcp_nodelay true\nmax_queued_bytes 0"


def facts() -> Iterator[Fact]:
    if not (shutil.which("gcc") or shutil.which("cc")):
        yield from (absent(f"coalesce_{rest_ms}ms_p99_ms", "no C compiler") for rest_ms in RESTS_MS)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compile_("plant", folder)
        models.mean_abs(folder, WINDOW)
        got = [[measure(folder, rest_ms) for rest_ms in RESTS_MS] for _ in range(ROUNDS)]
    for place, rest_ms in enumerate(RESTS_MS):
        rounds = [one[place] for one in got]
        p50, p99, cpu = (np.array([one[key] for one in rounds]) for key in ("p50_ms", "p99_ms", "per_100k"))
        note = f"p50 {np.median(p50):.1f} ms; {np.median(cpu):.2f} CPU s of the daemon per 100,000 messages, scores too"
        against = f"publish to score at coalesce_ms = {rest_ms}, {RATE:,} messages/s"
        yield Fact(
            f"coalesce_{rest_ms}ms_p99_ms", float(np.median(p99)), ROUNDS, float(p99.max()), note,
            unit="ms", against=against,
        )  # fmt: skip


def measure(folder: Path, rest_ms: int) -> dict[str, Any]:
    """Return what the plant says of one daemon, a fresh one, and `per_100k`: its CPU seconds per 100,000 messages."""
    payload = '{ format = "json", value = "v", time = "ts" }'
    table = stream("line", folder / "tiny.onnx", "plant/+", payload, f'hop = {HOP}\nsensor = "{{2}}"')
    mqtt = f"coalesce_ms = {rest_ms}"
    with Mosquitto(folder, extra=BROKER) as broker, Daemon(folder, broker.port, table, mqtt=mqtt) as daemon:
        daemon.ready()
        assert daemon.process is not None
        command = [folder / "plant", *map(str, (broker.port, RATE, SECONDS, SENSORS, WINDOW, HOP))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "filled\n"
            used = process_cpu_s(daemon.process.pid)
            said: dict[str, Any] = json.loads(process.stdout.readline())
            used = process_cpu_s(daemon.process.pid) - used
    return said | {"per_100k": used / (said["sent_hz"] * SECONDS) * 1e5}


def main() -> None:
    for fact in facts():
        print(fact)


if __name__ == "__main__":
    main()
