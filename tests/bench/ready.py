"""How long `anomalyd run` takes from start to ready, as a process of its own with the shipped model."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.bench.facts import Fact
from tests.brokers import Mosquitto, wait_until
from tests.daemons import Daemon, stream

MODEL = Path(__file__).resolve().parents[2] / "models" / "any-sensor-64.onnx"
STARTS = 7


def facts() -> Iterator[Fact]:
    took, cpu = [], []
    with tempfile.TemporaryDirectory() as name, Mosquitto(Path(name)) as broker:
        for _ in range(STARTS):
            daemon = Daemon(Path(name), broker.port, stream("s", MODEL, "plant/#", '{ format = "number" }'))
            began = time.perf_counter()
            with daemon:
                wait_until(lambda daemon=daemon: daemon.get("/readyz")[0] == 200, "the daemon is ready")
                took.append(time.perf_counter() - began)
                assert daemon.process is not None
                cpu.append(cpu_s(daemon.process.pid))
    note = f"of {STARTS} starts {min(took):.2f} to {max(took):.2f} s; {np.median(cpu):.2f} CPU s"
    yield Fact("ready_s", float(np.median(took)), STARTS, max(took), note)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
