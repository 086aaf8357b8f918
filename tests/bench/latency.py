"""How old a reading is when its score comes back: plant, mosquitto, daemon, mosquitto, control room.

A small C program (plant.c) is plant and control room. The daemon is the real one, the small preset at hop 16, its own
defaults otherwise. mosquitto runs with set_tcp_nodelay; one run is without, as it comes: then its small packets wait
until the one before is acknowledged.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.bench import graphs
from tests.bench.facts import Fact, absent
from tests.bench.ready import cpu_s
from tests.brokers import Mosquitto
from tests.daemons import Daemon, stream

SENSORS, HOP, SECONDS = 1_000, 16, 6
RATES = {"1k": 1_000, "5k": 5_000, "20k": 20_000, "most": 0}
#: The limits are no part of what is measured: a burst of the fastest run must not be dropped by the broker or by us.
BROKER = "set_tcp_nodelay true\nmax_queued_bytes 0"


def facts() -> Iterator[Fact]:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        yield absent("latency_p99_ms_at_1k", "no C compiler for the paced publisher")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plant = folder / "plant"
        subprocess.run([compiler, "-O2", "-o", plant, Path(__file__).with_name("plant.c")], check=True)
        model = graphs.save("small", folder)
        for label, rate in RATES.items():
            turns = [run(folder, plant, model, label, rate) for _ in range(3 if label == "1k" else 1)]
            yield middle(turns)
        yield run(folder, plant, model, "1k_stock_broker", 1_000, broker_config="max_queued_bytes 0")


def middle(turns: list[Fact]) -> Fact:
    """Return the run with the median value: what else the machine does in a few seconds decides a p99."""
    turns.sort(key=lambda fact: fact.value or 0.0)
    chosen = turns[len(turns) // 2]
    all_ = ", ".join(f"{fact.value:.1f}" for fact in turns)
    return chosen if len(turns) == 1 else replace(chosen, note=f"of {len(turns)} runs: {all_}; {chosen.note}")


def run(
    folder: Path, plant: Path, model: Path, label: str, rate: int, mqtt: str = "", broker_config: str = BROKER
) -> Fact:
    """Measure one rate, with a fresh broker and a fresh daemon."""
    table = stream("line", model, "plant/+", '{ format = "json", value = "v", time = "ts" }', f"hop = {HOP}")
    table = table.replace("[[stream]]", '[[stream]]\nsensor = "{2}"')
    more = "[limits]\ninbox_messages = 1000000"
    with (
        Mosquitto(folder, extra=broker_config) as broker,
        Daemon(folder, broker.port, table, mqtt=mqtt, more=more) as daemon,
    ):
        daemon.ready()
        assert broker.process is not None
        assert daemon.process is not None
        processes = (broker.process.pid, daemon.process.pid)
        command = [str(plant), str(broker.port), str(rate), str(SECONDS), str(SENSORS), "64", str(HOP)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "filled\n"
            before = [cpu_s(pid) for pid in processes]
            got: dict[str, Any] = json.loads(process.stdout.readline())
            taken = [cpu_s(pid) - used for pid, used in zip(processes, before, strict=True)]
        windows, samples = (daemon.metric(f"{what}_total") for what in ("windows_scored", "samples"))
        lost = daemon.metric("inbox_dropped_total") + daemon.metric("outbox_dropped_total")
    note = (
        f"p50 {got['p50_ms']:.1f} ms, p99 {got['p99_ms']:.1f} ms, p99.9 {got['p999_ms']:.1f} ms; "
        f"sent {got['sent_hz']:.0f}/s, scores heard {got['scores_hz']:.0f}/s of {got['sent_hz'] / HOP:.0f}; CPU s: "
        f"broker {taken[0]:.2f}, daemon {taken[1]:.2f}, plant {got['cpu'] * SECONDS:.2f} in {SECONDS} s; since "
        f"its start the daemon took {samples:.0f} samples, scored {windows:.0f} windows, dropped {lost:.0f}"
    )
    if rate:
        own = {} if label == "1k" else {"unit": "ms", "against": f"publish to score, {rate:,} messages/s"}
        return Fact(f"latency_p99_ms_at_{label}", got["p99_ms"], got["scores"], got["p999_ms"], note, **own)
    against = "one-sample JSON messages through one mosquitto on the same cores"
    return Fact("sustained_messages_hz", got["scores_hz"] * HOP, 1, note=note, unit="messages/s", against=against)
