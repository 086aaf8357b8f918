"""Memory and time per sample from a hundred sensors to a million: the daemon's own pump, without a broker behind it.

python -m tests.bench.scale SENSORS: one size. Window 256, one channel, binary blocks of 256 values, hop 256; the model
is a mean of absolute values, so that what the rings cost is not hidden behind a network. Each size is a
process of its own.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from daemon.assembly import build
from daemon.config import Config
from daemon.memory import keep_freed
from daemon.pump import Pump
from daemon.watch.health import Health
from daemon.watch.metrics import Metrics
from daemon.wire.inbox import Drain, Inbox
from daemon.wire.mqtt import Broker
from tests import models
from tests.bench.facts import Fact

SIZES = {"100": 100, "1k": 1_000, "10k": 10_000, "100k": 100_000, "1m": 1_000_000}
WINDOW = 256
MESSAGES = 2_048  # in one drain, half a million samples
STEADY = 200  # drains of which the cost is counted, after every sensor was seen


def facts() -> Iterator[Fact]:
    found = {}
    for label, sensors in SIZES.items():
        got = found[label] = apart(sensors)
        note = (
            f"{got['rss'] / 1e6:.0f} MB ({(got['rss'] - got['empty']) / sensors - got['ring']:.0f} bytes a sensor "
            f"beside its ring of {got['ring']:.0f}), a newcomer {got['newcomer_us']:.1f} us"
        )
        yield Fact(f"ns_per_sample_{label}", got["ns"], STEADY, got["p99"], note, unit="ns", against="CPU time")
    most, sensors = found["1m"], SIZES["1m"]
    allowed = 1.25 * sensors * WINDOW * 4 + 512 * sensors + 250e6
    yield Fact("rss_vs_ring_bytes_1m", most["rss"] / allowed, note=f"{most['rss'] / 1e9:.2f} of {allowed / 1e9:.2f} GB")
    thousand = [found["1k"]["ns"], apart(SIZES["1k"])["ns"]]  # before and after the million
    note = f"{most['ns']:.1f} against {thousand[0]:.1f} and {thousand[1]:.1f} ns of CPU per sample"
    yield Fact("cost_per_sample_1m_vs_1k", most["ns"] / float(np.mean(thousand)), STEADY, note=note)


def apart(sensors: int) -> dict[str, float]:
    """Measure one size in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.scale", str(sensors)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError((run.stderr.strip().splitlines() or ["killed"])[-1])
    got: dict[str, float] = json.loads(run.stdout)
    return got


def measure(sensors: int) -> dict[str, float]:
    """Take `sensors` sensors through a pump: all of them twice at least."""
    with tempfile.TemporaryDirectory() as folder:
        model = models.mean_abs(Path(folder), WINDOW)
        stream = {
            "name": "s",
            "topics": ["plant/+/value"],
            "sensor": "{2}",
            "payload": {"format": "binary"},
            "model": str(model),
            "hop": WINDOW,
        }
        limits = {"max_sensors": sensors}
        config = Config(stream=[stream], limits=limits, publish={"scores": "alarms"}, inference={"gpu": "off"})
        lines = build(config)
    inbox = Inbox(1, 1)
    broker = Broker(
        config.mqtt, [], inbox, status_topic="", max_payload_bytes=1,
        outbox_messages=config.limits.outbox_messages, on_change=lambda *_: None,
    )  # fmt: skip
    pump = Pump(config, lines, inbox, broker, Metrics(), Health())
    noise = np.random.default_rng(0).standard_normal((64, WINDOW)).astype("<f4")
    payloads = [row.tobytes() for row in noise]
    empty, at = rss(), 0

    def drain() -> Drain:
        nonlocal at
        n = min(MESSAGES, sensors)
        # 7,919 is a prime: neither neighbours nor in the order in which they first came
        topics = [f"plant/pump-{(at + place) * 7_919 % sensors:07d}/value" for place in range(n)]
        at += n
        return Drain(topics, (payloads * (n // 64 + 1))[:n], [False] * n, [time.monotonic()] * n, [time.time()] * n)

    def turn() -> tuple[float, int]:
        whole = drain()
        begin = time.process_time()
        pump._turn(whole)
        return time.process_time() - begin, len(whole)

    arrival = np.array([turn() for _ in range(-(-sensors // MESSAGES))])
    for _ in range(10 if sensors <= MESSAGES * 10 else 0):
        turn()
    steady = np.array([turn() for _ in range(max(STEADY, -(-sensors // MESSAGES)))])
    pipeline = lines[0].pipeline
    assert len(pipeline.roster) == sensors
    assert (pipeline.rings.count[:sensors] >= 2 * WINDOW).all()
    assert pump.windows_scored >= 2 * sensors
    gc.collect()
    ns = 1e9 * steady[:, 0] / steady[:, 1] / WINDOW
    return {
        "empty": empty,
        "rss": rss(),
        "ring": pipeline.rings.rows * 4,
        "newcomer_us": 1e6 * arrival[:, 0].sum() / sensors,
        "ns": float(np.median(ns)),
        "p99": float(np.quantile(ns, 0.99)),
        "told": broker.outbox_depth,
    }


def rss() -> int:
    """Return the resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main() -> None:
    """Measure in a thread, as the pump is one: memory is another matter there."""
    keep_freed()
    found: list[dict[str, float]] = []
    pump = threading.Thread(target=lambda: found.append(measure(int(sys.argv[1]))))
    pump.start()
    pump.join()
    print(json.dumps(found[0]))


if __name__ == "__main__":
    main()
